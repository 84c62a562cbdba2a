from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.automation.manifests import ASK_AGAIN
from sora_pipeline.ledger import Ledger, Plan
from sora_pipeline.names import MANIFEST_JOB, PipelineNames
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline.run_locks import run_lock
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Clock, keys
from sora_pipeline_tests.production.parts import SANDBOX

REQUESTS, FILE = "manifest_request_sensor", "manifest_file_sensor"


def plan_of(manifest: Path, output: Path, pipeline: str = "") -> Plan:
    """What a command asks for."""
    return Plan(manifest.stem, pipeline, str(manifest), str(output), SANDBOX)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.csv"
    path.write_text("clip_id,prompt\na,a fox\n")
    return path


def test_requested_manifest_is_read_and_then_left_alone(
    daemon: Daemon, ledger: Ledger, manifest: Path, tmp_path: Path, clock: Clock
) -> None:
    assert daemon.tick(REQUESTS).skipped == "nobody asked for a manifest"
    ledger.productions.request(plan_of(manifest, tmp_path / "out"))
    request = daemon.tick(REQUESTS).request
    assert daemon.tick(REQUESTS).request.run_key == request.run_key, "Dagster launches one run for it"
    clock.turn(ASK_AGAIN.total_seconds() + 1)
    assert daemon.tick(REQUESTS).request.run_key != request.run_key, "that run died"
    assert daemon.run(request, MANIFEST_JOB).success
    assert ledger.clips.pending(3) == keys("a")
    assert daemon.tick(REQUESTS).requests == []


def test_manifest_that_takes_long_to_read_is_not_asked_for_again(
    daemon: Daemon, home: Path, ledger: Ledger, manifest: Path, tmp_path: Path, clock: Clock
) -> None:
    ledger.productions.request(plan_of(manifest, tmp_path / "out"))
    request = daemon.tick(REQUESTS).request
    reading = daemon.a_run(dg.DagsterRunStatus.STARTED, dict(request.tags), MANIFEST_JOB)
    clock.turn(ASK_AGAIN.total_seconds() + 1)
    with run_lock(home / PipelineNames().run_lock_folder, reading.run_id):
        assert daemon.tick(REQUESTS).requests == []
    assert daemon.tick(REQUESTS).requests, "it ended without having read it"


def test_manifest_that_cannot_be_read_is_not_asked_for_again(
    daemon: Daemon, ledger: Ledger, tmp_path: Path
) -> None:
    ledger.productions.request(plan_of(tmp_path / "missing.csv", tmp_path / "out"))
    assert not daemon.run(daemon.tick(REQUESTS).request, MANIFEST_JOB).success
    assert daemon.tick(REQUESTS).requests == []
    assert "there is no such file" in (ledger.productions.get("missing").error or "")


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
    assert ledger.clips.pending(3) == keys("a")
    manifest.unlink()
    assert "cannot be read" in daemon.tick(FILE).skipped


def test_schedule_is_on_where_a_cron_is_set(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (schedule,) = VideoPipeline().schedules
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED
    monkeypatch.setenv("SORA_CRON", "15 7 * * 1-5")
    monkeypatch.setenv("SORA_CRON_TIMEZONE", "Europe/Berlin")
    (schedule,) = VideoPipeline().schedules
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("15 7 * * 1-5", "Europe/Berlin")
