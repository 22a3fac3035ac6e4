"""The health file when its place is not what it was."""

from pathlib import Path

import pytest

from pooldaemon.workers.vitals import Vitals


def test_a_health_file_that_cannot_be_touched_is_told_once_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "run"
    health = directory / "health"
    vitals = Vitals({}, str(health))

    def beat() -> list[str]:
        caplog.clear()
        vitals.beat("running", alive=True)
        return [record.getMessage() for record in caplog.records]

    told = [f"The health file {health}: No such file or directory"]
    for _ in range(2):
        assert [beat(), beat()] == [told, []]
        directory.mkdir()
        assert beat() == []
        assert health.exists()
        health.unlink()
        directory.rmdir()


def test_a_link_in_its_place_is_not_followed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    health, target = tmp_path / "health", tmp_path / "target"
    health.symlink_to(target)
    Vitals({}, str(health)).beat("running", alive=True)
    assert f"The health file {health}: it is a symbolic link" in caplog.text
    assert not target.exists()
