"""Clips that are done, and whose run broke before Dagster was told, turn green all the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest

from sora_pipeline.assets.clip_pages import ClipPages
from sora_pipeline.automation.unmaterialized import MOST_TRIES
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.names import BATCH_TAG, GENERATIONS_JOB, VIDEOS_JOB, PipelineNames
from sora_pipeline_tests.automation.conftest import LEASE_S, Daemon, range_of, wait_until_rendered
from sora_pipeline_tests.conftest import Clock, Producer, Sandbox, key, rows_of, states

DISPATCH, POLL = "dispatch_sensor", "poll_sensor"
NAMES = PipelineNames()


@contextmanager
def breaking(monkeypatch: pytest.MonkeyPatch, method: str, *, after: int) -> Iterator[None]:
    """Runs break when they are about to tell Dagster of one more clip than so many."""
    original: Callable[..., Any] = getattr(ClipPages, method)
    told = 0

    def broken(*arguments: Any, **named: Any) -> Any:
        nonlocal told
        if told == after:
            raise RuntimeError("the machine went down")
        told += 1
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ClipPages, method, broken)
        yield


def green(daemon: Daemon, asset: dg.AssetKey) -> set[str]:
    return set(daemon.instance.get_materialized_partitions(asset))


def test_accepted_clips_are_materialized_by_a_run_of_their_own(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    with breaking(monkeypatch, "generation", after=1):
        assert not daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    assert len(green(daemon, NAMES.generations)) == 1
    assert sandbox.billed > 1, "and more were accepted"
    while requests := daemon.tick(DISPATCH).requests:
        for request in requests:  # what had not been sent is sent by one, too
            assert daemon.run(request, GENERATIONS_JOB).success
    accepted = {AttemptState.IN_FLIGHT, AttemptState.SUCCEEDED}  # on a slow machine one is rendered meanwhile
    assert set(states(ledger, ["a", "b", "c"]).values()) <= accepted
    assert green(daemon, NAMES.generations) == {key("a"), key("b"), key("c")}
    assert daemon.tick(DISPATCH).requests == []
    assert ledger.batches.unfinished("") == []
    assert sandbox.billed == 3


def test_delivered_clips_are_materialized_by_a_run_of_their_own(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    sandbox: Sandbox,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    assert daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    wait_until_rendered(sandbox, clock)
    request = daemon.tick(POLL).request
    with breaking(monkeypatch, "video", after=0):
        assert not daemon.run(request, VIDEOS_JOB).success
    clock.turn(LEASE_S + 1)
    for _ in range(3):  # what it had not fetched yet is fetched by a run, too
        for each in daemon.tick(POLL).requests:
            assert daemon.run(each, VIDEOS_JOB).success
        clock.turn(LEASE_S + 1)
    assert set(states(ledger, ["a", "b"]).values()) == {AttemptState.COLLECTED}
    assert green(daemon, NAMES.videos) == {key("a"), key("b")}
    assert daemon.tick(POLL).requests == []
    assert sandbox.billed == 2


def test_runs_that_break_again_and_again_are_requested_so_often_and_no_more(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    production(rows_of(a="a fox"))
    requested = 0
    with breaking(monkeypatch, "generation", after=0):
        while requests := daemon.tick(DISPATCH).requests:
            requested += 1
            assert not daemon.run(requests[0], GENERATIONS_JOB).success
    assert requested == 1 + MOST_TRIES
    said = caplog.text
    assert "1 clip is done, and not materialized in Dagster" in said, (
        "a person is told where no run is requested any more"
    )
    assert key("a") in said
    assert ledger.batches.unfinished("") == []
    assert sandbox.billed == 1


def test_red_partition_of_a_clip_that_is_made_once_more_turns_green(
    daemon: Daemon, production: Producer, sandbox: Sandbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was materialized for its first row: what counts is what Dagster shows now."""
    production(rows_of(a="a fox"))
    assert daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    wait_until_rendered(sandbox, clock)
    assert daemon.run(daemon.tick(POLL).request, VIDEOS_JOB).success
    production(rows_of(a="a fox in the snow"))
    with breaking(monkeypatch, "generation", after=0):
        assert not daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    request = daemon.tick(DISPATCH).request
    assert range_of(request) == (key("a"), key("a"))
    assert daemon.run(request, GENERATIONS_JOB).success
    status = daemon.instance.get_status_by_partition(
        NAMES.generations, [key("a")], dg.DynamicPartitionsDefinition(name=NAMES.clips)
    )
    assert status is not None
    assert [each.value for each in status.values() if each] == ["MATERIALIZED"]
    assert sandbox.billed == 2


def test_batch_is_kept_while_dagster_takes_its_dead_run_for_one_that_goes_on(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    production(rows_of(a="a fox"))
    request = daemon.tick(DISPATCH).request
    with breaking(monkeypatch, "generation", after=0):
        daemon.run(request, GENERATIONS_JOB)
    dead = daemon.a_run(dg.DagsterRunStatus.STARTED, {BATCH_TAG: request.tags[BATCH_TAG]})
    clock.turn(LEASE_S + 1)
    assert daemon.tick(DISPATCH).requests == []
    assert len(ledger.batches.unfinished("")) == 1
    daemon.instance.report_run_failed(dead)
    assert daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    assert green(daemon, NAMES.generations) == {key("a")}
