"""Health at a glance: real productions, published, then broken on purpose; the checks say what and how bad."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sora_pipeline.automation.dispatch import CHECK_AGAIN_S
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import FINISHED_CHECK, GENERATIONS_JOB, PUBLISH_JOB, VIDEOS_JOB, PipelineNames
from sora_pipeline.production import health
from sora_pipeline.production.publishing_meanwhile import EVERY
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline_tests.automation.conftest import Daemon, daemon
from sora_pipeline_tests.conftest import Clock, Producer, Rows, Sandbox, keys, rows_of, settings_of, standing
from sora_pipeline_tests.production.parts import video_of

__all__ = ["daemon"]  # a fixture

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
Checks = dict[str, tuple[bool, dg.AssetCheckSeverity, str]]


@pytest.fixture
def produce(daemon: Daemon, production: Producer, sandbox: Sandbox, clock: Clock) -> Callable[..., Checks]:
    """Produce rows through sensors and jobs, publish them, and return what the checks of that run said."""

    def made(rows: Rows, file: str = "prompts.csv") -> Checks:
        production(rows, file=file)
        daemon.run(daemon.tick("dispatch_sensor").request, GENERATIONS_JOB)
        deadline = time.monotonic() + 20
        stuck = sum("[sandbox:stuck]" in row["prompt"] for row in rows)
        while sandbox.http.get("/sandbox/health").json()["running"] > stuck:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for _ in range(2):  # found in the first tick, and in the second stragglers are waited for no longer
            clock.turn(40)
            for request in daemon.tick("poll_sensor").requests:
                daemon.run(request, VIDEOS_JOB)
        return published(daemon, clock)

    return made


def published(daemon: Daemon, clock: Clock) -> Checks:
    # Of one that goes on, the run's own steps are skipped, and what they would have said is reported without them.
    return said(publish_run(daemon, clock)) or shown(daemon)


def shown(daemon: Daemon) -> Checks:
    """What the UI shows of each check: its newest execution."""
    names = [health.ROWS, health.DELIVERED, health.SPEND, FINISHED_CHECK]
    keys = [dg.AssetCheckKey(PipelineNames().video_manifest, name) for name in names]
    keys += [
        dg.AssetCheckKey(PipelineNames().videos, name)
        for name in (health.FILES, health.AS_ASKED, health.AMBIGUOUS)
    ]
    found = {}
    for key, record in daemon.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        keys
    ).items():
        evaluation = record.evaluation
        assert isinstance(evaluation, dg.AssetCheckEvaluation), f"{key.name} is shown as skipped"
        found[key.name] = evaluation.passed, evaluation.severity, evaluation.description or ""
    return found


def publish_run(daemon: Daemon, clock: Clock) -> dg.ExecuteInProcessResult:
    clock.turn((EVERY + timedelta(seconds=1)).total_seconds())
    (request,) = daemon.tick("publish_sensor").requests
    return daemon.run(request, PUBLISH_JOB)


def looked_at(daemon: Daemon) -> Checks:
    return said(executed(daemon))


def executed(daemon: Daemon) -> dg.ExecuteInProcessResult:
    """As a person executes them in the UI."""
    job = daemon.definitions.resolve_job_def(PUBLISH_JOB)
    keys = [key for key in job.asset_layer.asset_graph.asset_check_keys if key.name != "submits_allowed"]
    return job.get_subset(asset_selection=set(), asset_check_selection=set(keys)).execute_in_process(
        instance=daemon.instance, raise_on_error=False
    )


def said(result: dg.ExecuteInProcessResult) -> Checks:
    return {
        each.check_name: (each.passed, each.severity, each.description or "")
        for each in result.get_asset_check_evaluations()
    }


def failing(checks: Checks) -> dict[str, dg.AssetCheckSeverity]:
    return {name: severity for name, (passed, severity, _) in checks.items() if not passed}


def test_healthy_production_is_all_green_and_every_file_was_read_back(
    produce: Callable[[Rows], Checks], ledger: Ledger
) -> None:
    checks = produce(rows_of(a="a fox", b="an owl"))
    assert len(checks) == 7
    assert failing(checks) == {}
    assert "2.40 USD" in checks[health.SPEND][2]
    assert [bool(each.result.verified_at) for each in ledger.attempts.of_clips(keys("a", "b"))] == [
        True,
        True,
    ]


def test_each_way_to_end_badly_is_named_with_its_severity(produce: Callable[[Rows], Checks]) -> None:
    checks = produce(
        rows_of(
            fine="a fox",
            refused="[sandbox:policy] a fox",
            lost="[sandbox:lost-answer] a fox",
            short="[sandbox:wrong-duration] a fox",
        )
    )
    assert failing(checks) == {health.DELIVERED: ERROR, health.AMBIGUOUS: WARN}
    assert "lost" in checks[health.AMBIGUOUS][2]
    assert "refused: " in checks[health.DELIVERED][2]


def test_what_is_still_under_way_is_only_a_warning(
    produce: Callable[[Rows], Checks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_IDLE_S", "2")
    checks = produce(rows_of(fine="a fox", slow="[sandbox:stuck] an owl"))
    assert failing(checks) == {health.DELIVERED: WARN, FINISHED_CHECK: WARN}


def test_checks_keep_the_verdict_of_each_production(
    produce: Callable[..., Checks], daemon: Daemon, ledger: Ledger, clock: Clock
) -> None:
    """Two productions with equal clip ids: the one published last hides nothing of the other."""
    bad = produce(rows_of(a="a fox", b="[sandbox:policy] an owl"), file="monday.csv")
    assert failing(bad) == {health.DELIVERED: ERROR}
    both = produce(rows_of(a="a bear", b="a lynx"), file="tuesday.csv")
    assert failing(both) == {health.DELIVERED: ERROR}, "monday is not well, whoever was published last"
    sentence = both[health.DELIVERED][2]
    assert sentence.startswith("tuesday: 2 delivered")
    assert "Not well in monday" in sentence
    evaluation = next(
        each for each in executed(daemon).get_asset_check_evaluations() if each.check_name == health.DELIVERED
    )
    facts = {name: value.value for name, value in evaluation.metadata.items()}
    assert (facts["productions_looked_at"], facts["productions_not_well"]) == (2, 1)
    assert facts["production"] == "tuesday"
    shown = evaluation.metadata["not_well"]
    assert isinstance(shown, dg.TableMetadataValue)
    (record,) = shown.records
    assert record.data["production"] == "monday"
    assert "b: " in str(record.data["found"])
    assert failing(looked_at(daemon)) == {health.DELIVERED: ERROR}


def test_person_who_looks_again_sees_that_another_production_is_mended(
    produce: Callable[..., Checks], daemon: Daemon, ledger: Ledger, clock: Clock
) -> None:
    produce(rows_of(a="a fox"), file="monday.csv")
    ledger.verdicts.record("monday", [(health.ROWS, False, True, "missing: a")])
    checks = produce(rows_of(a="a bear"), file="tuesday.csv")
    assert failing(checks) == {health.ROWS: ERROR}
    assert failing(looked_at(daemon)) == {}, "a look at everything that was not well"


@pytest.mark.parametrize("damage", ["missing", "shorter", "changed"])
def test_damaged_file_is_found_named_and_fetched_again_for_nothing(
    produce: Callable[[Rows], Checks],
    daemon: Daemon,
    ledger: Ledger,
    sandbox: Sandbox,
    clock: Clock,
    tmp_path: Path,
    damage: str,
) -> None:
    produce(rows_of(a="a fox", b="an owl"))
    (file,) = (tmp_path / "out" / "prompts" / "videos" / "a").glob("*.mp4")
    whole = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(whole[:1000] if damage == "shorter" else b"x" + whole[1:])
    checks = looked_at(daemon)
    assert failing(checks) == {health.FILES: ERROR}
    assert f"a: videos/a/{file.name}" in checks[health.FILES][2]
    assert "sora-pipeline retry" in checks[health.FILES][2]
    assert retry_clips(ledger, settings_of(), ["prompts"], ["a", "b"]).fetched == keys("a")
    clock.turn(40)
    assert daemon.run(daemon.tick("poll_sensor").request, VIDEOS_JOB).success
    assert failing(published(daemon, clock)) == {}
    delivered = standing(ledger, "a").delivered
    assert delivered is not None
    assert Path(video_of(delivered).uri).read_bytes() == whole
    if damage == "changed":
        assert file.read_bytes() != whole, "what lies there is nobody's to overwrite"
    assert sandbox.billed == 2


def test_manifest_that_was_tampered_with_is_found(
    produce: Callable[[Rows], Checks], daemon: Daemon, tmp_path: Path
) -> None:
    produce(rows_of(a="a fox", b="an owl"))
    path = tmp_path / "out" / "prompts" / "metadata.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1), path)
    assert failing(looked_at(daemon)) == {health.ROWS: ERROR, health.SPEND: ERROR}
    widths = pa.array([640, 640], pa.int32())
    pq.write_table(table.set_column(table.schema.get_field_index("width"), "width", widths), path)
    assert failing(looked_at(daemon)) == {health.AS_ASKED: ERROR}
    path.unlink()
    checks = looked_at(daemon)
    assert "is missing" in checks[health.ROWS][2]


def test_breaker_is_a_check_that_changes_colour_without_a_run(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    (red,) = daemon.tick("dispatch_sensor").checks
    assert (red.asset_key.to_user_string(), red.check_name) == ("generations", "submits_allowed")
    assert not red.passed
    assert "top the account up" in (red.description or "")
    assert daemon.tick("dispatch_sensor").checks == [], "said once"
    ledger.breakers.close("sandbox")
    (green,) = daemon.tick("dispatch_sensor").checks
    assert (green.passed, green.description) == (True, "submits go on")
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    daemon.run(daemon.tick("dispatch_sensor").request, GENERATIONS_JOB)
    assert daemon.tick("dispatch_sensor").checks == [], "not for every clip"
    clock.turn(CHECK_AGAIN_S)
    assert len(daemon.tick("dispatch_sensor").checks) == 1, "said again of what was materialized since"
    assert daemon.tick("dispatch_sensor").checks == []
    clock.turn(CHECK_AGAIN_S)
    assert daemon.tick("dispatch_sensor").checks == [], "nothing was materialized since"
