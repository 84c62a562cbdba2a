from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.automation.manifests import ASK_AGAIN, manifest_schedule
from sora_pipeline.ledger import Ledger
from sora_pipeline.living import living
from sora_pipeline.names import MANIFEST_JOB
from sora_pipeline.settings import Settings
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Clock

REQUESTS, FILE = "manifest_request_sensor", "manifest_file_sensor"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text("clip_id,prompt\na,a fox\n")
    return path


def test_requested_manifest_is_read_and_then_left_alone(
    daemon: Daemon, ledger: Ledger, manifest: Path, tmp_path: Path, clock: Clock
) -> None:
    assert daemon.tick(REQUESTS).skipped == "nobody asked for a manifest"
    ledger.productions.request(str(manifest), str(tmp_path / "out"), None)
    request = daemon.tick(REQUESTS).request
    assert daemon.tick(REQUESTS).request.run_key == request.run_key, "Dagster launches one run for it"
    clock.turn(ASK_AGAIN.total_seconds() + 1)
    assert daemon.tick(REQUESTS).request.run_key != request.run_key, "that run died"
    assert daemon.run(request, MANIFEST_JOB).success
    assert list(ledger.clips.wanted()) == ["a"]
    assert daemon.tick(REQUESTS).requests == []


def test_manifest_that_takes_long_to_read_is_not_asked_for_again(
    daemon: Daemon, home: Path, ledger: Ledger, manifest: Path, tmp_path: Path, clock: Clock
) -> None:
    ledger.productions.request(str(manifest), str(tmp_path / "out"), None)
    request = daemon.tick(REQUESTS).request
    reading = daemon.a_run(dg.DagsterRunStatus.STARTED, dict(request.tags), MANIFEST_JOB)
    clock.turn(ASK_AGAIN.total_seconds() + 1)
    with living(home, reading.run_id):
        assert daemon.tick(REQUESTS).requests == []
    assert daemon.tick(REQUESTS).requests, "it ended without having read it"


def test_manifest_that_cannot_be_read_is_not_asked_for_again(
    daemon: Daemon, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.productions.request(str(tmp_path / "missing.csv"), str(tmp_path / "out"), None)
    assert not daemon.run(daemon.tick(REQUESTS).request, MANIFEST_JOB).success
    assert daemon.tick(REQUESTS).requests == []


def test_file_sensor_requests_a_new_or_changed_file_once(
    daemon: Daemon, ledger: Ledger, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert daemon.tick(FILE).skipped == "SORA_MANIFEST is not set"
    monkeypatch.setenv("SORA_MANIFEST", str(manifest))
    first = daemon.tick(FILE).request
    assert "has not changed" in daemon.tick(FILE).skipped
    manifest.touch()
    assert "has not changed" in daemon.tick(FILE).skipped, "its content decides"
    manifest.write_text("clip_id,prompt\na,a red fox\n")
    second = daemon.tick(FILE).request
    assert second.run_key != first.run_key
    assert daemon.run(second, MANIFEST_JOB).success
    assert list(ledger.clips.wanted()) == ["a"]
    manifest.unlink()
    assert "cannot be read" in daemon.tick(FILE).skipped


def test_schedule_is_on_where_a_cron_is_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert manifest_schedule(Settings.from_env()).default_status is dg.DefaultScheduleStatus.STOPPED
    monkeypatch.setenv("SORA_CRON", "15 7 * * 1-5")
    monkeypatch.setenv("SORA_CRON_TIMEZONE", "Europe/Berlin")
    schedule = manifest_schedule(Settings.from_env())
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 7 * * 1-5", "Europe/Berlin")
