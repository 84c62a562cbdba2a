"""Productions that are published beside the work on them: when that is, and that it never harms the work."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.production import publishing_meanwhile
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.publishing_meanwhile import EVERY, SHARE, PublishingMeanwhile, is_due
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline_tests.conftest import Clock, Producer, RunContexts, keys, rows_of
from sora_pipeline_tests.production.gallery.example import production_of

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LONG_AGO = EVERY.total_seconds() + 1


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing_meanwhile, "LOOK_S", 0.05)


def until(condition: Callable[[], Any]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def published_seq(run_context: RunContext, production_id: str = "prompts") -> int:
    return run_context.ledger.productions.get(production_id).published_seq


# ---- when


@given(rows=st.integers(0, 10**6), took_s=st.none() | st.floats(0, 600), ago_s=st.floats(0, 10**5))
def test_it_takes_at_most_its_share_of_the_time(rows: int, took_s: float | None, ago_s: float) -> None:
    production = production_of("/out", published_at=NOW - timedelta(seconds=ago_s))
    if is_due(production, rows, NOW, took_s=took_s):
        assert ago_s >= EVERY.total_seconds() - 1e-3
        assert ago_s >= SHARE * (took_s or 0) - 1e-3


def test_a_change_shows_within_a_minute_where_that_takes_little() -> None:
    assert EVERY + timedelta(seconds=publishing_meanwhile.LOOK_S) < timedelta(seconds=55)
    production = production_of("/out", published_at=NOW - EVERY, read_at=NOW - 2 * EVERY)
    assert is_due(production, 30_000, NOW)
    assert not is_due(production, 100_000, NOW)
    assert not is_due(production, 30_000, NOW, late=timedelta(seconds=1))


def test_what_was_read_just_now_has_time_to_begin() -> None:
    production = production_of("/out", published_at=NOW - timedelta(days=1), read_at=NOW)
    assert not is_due(production, 1, NOW)
    assert is_due(replace(production, read_at=NOW - EVERY), 1, NOW)
    assert is_due(production_of("/out"), 1, NOW), "nobody knows when it was read"


def test_clock_that_ran_ahead_holds_nothing_up() -> None:
    assert is_due(production_of("/out", published_at=NOW + timedelta(hours=1)), 1, NOW)


# ---- beside the work


async def test_production_that_goes_on_is_published_and_one_that_has_finished_is_left(
    run_context: RunContext, production: Producer, clock: Clock
) -> None:
    made = production(rows_of(a="a fox", b="an owl"))
    with PublishingMeanwhile(run_context):
        await asyncio.sleep(0.3)
        assert published_seq(run_context) == 0, "too early"
        clock.turn(LONG_AGO)
        until(lambda: published_seq(run_context) == made.change_seq)
        await ensure_predictions(run_context, keys("a", "b"), batch_id="run", may_begin=True)
        await collect_videos(run_context, keys("a", "b"), resume_timed_out=True)
        before = published_seq(run_context)
        clock.turn(LONG_AGO)
        await asyncio.sleep(0.5)
        assert published_seq(run_context) == before, "the run that tells Dagster does that"
    assert run_context.ledger.productions.get("prompts").publisher is None


async def test_only_productions_of_its_own_pipeline_are_published(
    run_context: RunContext, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"), file="ours.csv")
    theirs = production(rows_of(a="a fox!"), file="theirs.csv", pipeline="acme").production_id
    clock.turn(LONG_AGO)
    with PublishingMeanwhile(run_context):
        until(lambda: published_seq(run_context, "ours"))
        await asyncio.sleep(0.3)
    assert published_seq(run_context, theirs) == 0


async def test_output_that_cannot_be_written_is_said_and_harms_nobody_else(
    contexts: RunContexts,
    run_context: RunContext,
    production: Producer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    production(rows_of(a="a fox"), file="full.csv")
    production(rows_of(a="an owl"), file="other.csv")
    real = OutputStore.replace_file

    def full(store: OutputStore, local: Path, relative: str) -> None:
        if store.uri.endswith("full"):
            raise StoreError("there is no space left", "store_full")
        real(store, local, relative)

    monkeypatch.setattr(OutputStore, "replace_file", full)
    clock.turn(LONG_AGO)
    with PublishingMeanwhile(run_context):
        until(lambda: published_seq(run_context, "other"))
        await asyncio.sleep(0.5)
    said = [sentence for sentence in contexts.said if "could not be published" in sentence]
    assert len(said) == 1, "not every few seconds"
    assert "no space left" in said[0]
    assert "SORA_OUTPUT" in said[0]


async def test_run_that_is_terminated_does_not_wait_for_what_is_being_written(
    run_context: RunContext,
    production: Producer,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    production(rows_of(a="a fox"))
    clock.turn(LONG_AGO)
    began: list[float] = []
    real = OutputStore.clear_staging

    def slow(store: OutputStore) -> None:
        began.append(time.monotonic())
        until(meanwhile._hurry.is_set)
        real(store)

    monkeypatch.setattr(OutputStore, "clear_staging", slow)
    meanwhile = PublishingMeanwhile(run_context)
    meanwhile.__enter__()
    until(lambda: began)
    meanwhile.__exit__(KeyboardInterrupt)
    assert published_seq(run_context) == 0
    assert not (tmp_path / "out" / "prompts" / "metadata.parquet").exists()
    assert run_context.ledger.productions.get("prompts").publisher is None, "the next may begin at once"
