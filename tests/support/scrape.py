"""What Prometheus would read: an exposition, by its own parser."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

TIMEOUT = 30.0


class Scrape:
    """The samples of one exposition.

    A sample is asked for by its name and some of its labels: `scrape("x_total", pool="p")`.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))

    @property
    def names(self) -> set[str]:
        """Of all samples."""
        return {sample.name for family in self.families for sample in family.samples}

    def samples(self, name: str, **labels: str) -> list[float]:
        return [
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def labels(self, name: str) -> set[str]:
        """The names of all labels with which a sample occurs, and of the name itself."""
        return {
            label
            for family in self.families
            for sample in family.samples
            if sample.name == name
            for label in ("__name__", *sample.labels)
        }

    def __call__(self, name: str, **labels: str) -> float:
        (value,) = self.samples(name, **labels)
        return value


def scrape(url: str) -> Scrape:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        return Scrape(answer.read().decode())
