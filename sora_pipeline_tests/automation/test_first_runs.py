"""The first runs that a command has executed: short enough to begin soon, and no more of them than there are slots for."""

import dagster as dg
import pytest

from sora_pipeline.automation.first_runs import FIRST_CLIPS, plan_first_runs
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.names import BATCH_TAG, GENERATIONS_JOB, VIDEOS_JOB, PipelineNames
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Producer, Sandbox, rows_of, settings_of

ROWS = rows_of(**{f"c{number:03}": f"clip {number}" for number in range(600)})


def planned(instance: dg.DagsterInstance, ledger: Ledger) -> list[tuple[str | None, int]]:
    """The jobs of the first runs, each with the number of its clips."""
    requests = plan_first_runs(instance, PipelineRuntime(PipelineNames(), settings_of()))
    batches = (ledger.batches.get(request.tags[BATCH_TAG]) for request in requests)
    return [
        (request.job_name, len(batch.keys))
        for request, batch in zip(requests, batches, strict=True)
        if batch is not None
    ]


def reserved(ledger: Ledger) -> int:
    return len(ledger.attempts.live(AttemptState.RESERVED, pipeline=""))


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize(("slots", "second"), [(150, 100), (200, 100), (350, 250), (1_000, 400)])
def test_a_short_run_comes_first_and_one_that_fills_the_slots_follows(
    instance: dg.DagsterInstance,
    ledger: Ledger,
    production: Producer,
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    slots: int,
    second: int,
) -> None:
    """One that is longer than there are slots begins later, and they stand empty until it does."""
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", str(slots))
    production(ROWS)
    assert planned(instance, ledger) == [
        (GENERATIONS_JOB, FIRST_CLIPS),
        (GENERATIONS_JOB, second),
        (VIDEOS_JOB, FIRST_CLIPS + second),
    ]
    assert reserved(ledger) == min(slots, FIRST_CLIPS + second)
    if slots < FIRST_CLIPS + second:
        assert daemon.tick("dispatch_sensor").requests == []


@pytest.mark.usefixtures("sandbox")
def test_where_it_takes_all_slots_no_other_is_planned(
    instance: dg.DagsterInstance, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "20")
    production(ROWS)
    assert planned(instance, ledger) == [(GENERATIONS_JOB, FIRST_CLIPS), (VIDEOS_JOB, FIRST_CLIPS)]
    assert reserved(ledger) == 20


def test_two_productions_are_served_at_once(
    instance: dg.DagsterInstance,
    ledger: Ledger,
    production: Producer,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "200")
    production(ROWS[:150], file="one.csv")
    production(ROWS[:150], file="two.csv", name="two")
    assert planned(instance, ledger)
    served = {attempt.production_id for attempt in ledger.attempts.live(AttemptState.RESERVED, pipeline="")}
    assert served == {"one", "two"}
    assert sandbox.billed == 0
