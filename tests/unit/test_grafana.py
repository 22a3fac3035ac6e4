"""The dashboard in docs/: one that Grafana knows, and asking for nothing that nobody exports."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.scrape import Scrape
from tests.unit.test_metrics_daemon import daemon, scrape, worker

DASHBOARD = json.loads((Path(__file__).parents[2] / "docs" / "grafana.json").read_text())
COLUMNS = 24

METRIC = re.compile(r"\bpooldaemon_\w+")
LABELS = re.compile(r"\b(\w+)=~?\"|by \(([\w, ]+)\)")


@pytest.fixture(scope="module")
def exported() -> Scrape:
    return scrape(daemon(worker("worker-1")))


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def test_grafanas_own_models_take_it_and_lose_nothing() -> None:
    register_default_plugins()
    dashboard = Dashboard.from_json(DASHBOARD)
    unknown = [
        panel for panel in dashboard.panels or () if isinstance(vars(panel).get("options"), dict)
    ]
    assert unknown == []
    loaded = json.loads(JSONEncoder().encode(dashboard))
    assert _part_of(loaded, DASHBOARD) == DASHBOARD


def _part_of(loaded: Any, written: Any) -> Any:
    """*loaded* without the defaults that were added to what was *written*."""
    if isinstance(written, dict):
        return {name: _part_of(loaded.get(name), value) for name, value in written.items()}
    if isinstance(written, list):
        return [_part_of(*pair) for pair in zip(loaded, written, strict=True)]
    return loaded


@pytest.mark.parametrize("query", queries())
def test_what_a_query_asks_for_is_exported(query: str, exported: Scrape) -> None:
    metrics = METRIC.findall(query)
    assert metrics
    asked = {
        name
        for match in LABELS.findall(query)
        for part in match
        for name in part.split(", ")
        if name
    }
    for metric in metrics:
        labels = exported.labels(metric)
        assert labels, f"{metric} is not exported"
        assert asked <= labels


def test_a_variable_takes_its_values_from_what_is_exported(exported: Scrape) -> None:
    for variable in DASHBOARD["templating"]["list"][1:]:
        metric, label = re.fullmatch(  # type: ignore[union-attr]
            r"label_values\((\w+), (\w+)\)", variable["query"]["query"]
        ).groups()
        assert label in exported.labels(metric)
        assert f'{label}=~"${variable["name"]}"' in "".join(queries())


def test_all_that_is_exported_is_shown(exported: Scrape) -> None:
    shown = {name for query in queries() for name in METRIC.findall(query)}
    histograms = {name.removesuffix("_bucket") for name in shown if name.endswith("_bucket")}
    parts = {f"{name}{part}" for name in histograms for part in ("_count", "_sum")}
    assert exported.names - shown - parts == set()


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells


def test_every_panel_asks_the_source_that_was_chosen() -> None:
    for panel in panels():
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert {source["uid"] for source in sources} == {"${datasource}"}
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
