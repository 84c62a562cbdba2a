"""Ctrl-C in the middle of a production: what was delivered is published before the command ends; a second one does not wait."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest

from sora_pipeline.admission.limits import account_of, limits_of
from sora_pipeline.definitions import defs
from sora_pipeline.headless import run
from sora_pipeline.headless.run import HeadlessRun
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.ledger.batches import GENERATIONS
from sora_pipeline.names import BATCH_TAG, GENERATIONS_JOB
from sora_pipeline.production.finish import FINISHED
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.store import OutputStore
from sora_pipeline_tests.conftest import (
    Producer,
    Sandbox,
    command,
    key,
    rows_of,
    settings_of,
    url_of_ledger,
    write_manifest,
)
from sora_pipeline_tests.headless.conftest import until


@pytest.fixture
def headless(instance: dg.DagsterInstance, home: Path, ledger: Ledger) -> HeadlessRun:
    return HeadlessRun(
        instance, home, ledger, settings_of(), load_catalogue(), timeout_s=None, show=lambda _: None
    )


CLIPS = {f"c{n}": f"a fox, take {n}" for n in range(6)}
INTERRUPTED = 3


@pytest.fixture
def manifest(home: Path, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six clips, of which one renders at a time, for some seconds each."""
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "1")
    sandbox.change(render_s=4)
    return write_manifest(tmp_path / "prompts.csv", rows_of(**CLIPS))


@contextmanager
def running(manifest: Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "sora_pipeline", "run", str(manifest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    try:
        yield process
    finally:
        process.kill()  # of no effect on one that has ended
        process.communicate()


def delivered(ledger: Ledger) -> int:
    if ledger.productions.find("prompts") is None:
        return 0
    made = ledger.attempts.of_production("prompts")
    return sum(attempt.state is AttemptState.COLLECTED for attempt in made)


@pytest.mark.timeout(600)
def test_what_was_delivered_is_published_before_the_command_ends(
    manifest: Path, home: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    output = tmp_path / "out" / "prompts"
    with running(manifest) as process:
        ledger = Ledger(url_of_ledger(home))
        until(lambda: delivered(ledger) >= 2, 240)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=240)
        # What kept submits from beginning while it stopped does not hold the next command up.
        assert ledger.pauses.left_s("sandbox") == 0
    assert process.returncode == INTERRUPTED, said
    assert "nothing is lost" in said
    assert "pause --production prompts" in said
    assert "Traceback" not in said
    statuses = pq.read_table(output / "metadata.parquet").column("status").to_pylist()
    assert len(statuses) == len(CLIPS)
    assert statuses.count("delivered") == delivered(ledger) < len(CLIPS)
    assert (output / "gallery.html").exists()
    assert not (output / FINISHED).exists()

    sandbox.change(render_s=0.4)
    again = command("run", str(manifest), "--json", "--timeout", "300")
    assert again.returncode == 0, again.stderr
    assert (output / FINISHED).exists()
    assert sandbox.billed == len(CLIPS)
    ledger.close()


@pytest.mark.timeout(600)
def test_second_one_ends_it_at_once(manifest: Path, home: Path, tmp_path: Path) -> None:
    with running(manifest) as process:
        ledger = Ledger(url_of_ledger(home))
        until(lambda: delivered(ledger) >= 1, 240)
        ledger.close()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "pause --production prompts" in said


def test_one_that_comes_before_the_manifest_is_handed_in_names_no_production(
    manifest: Path, home: Path
) -> None:
    with running(manifest) as process:
        until(lambda: (home / "ledger.db").exists(), 120)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, said
    ledger = Ledger(url_of_ledger(home))
    handed_in = ledger.productions.find("prompts") is not None
    ledger.close()
    assert ("pause --production prompts" if handed_in else "has submitted nothing") in said


def test_output_that_hangs_holds_the_end_up_for_so_long_and_no_longer(
    headless: HeadlessRun, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = production(rows_of(a="a fox"))
    tried: list[str] = []

    def hang(store: OutputStore) -> None:
        tried.append(store.uri)
        time.sleep(600)

    monkeypatch.setattr(OutputStore, "clear_staging", hang)
    monkeypatch.setattr(run, "LAST_PUBLISH_S", 0.3)
    headless._publish_as_it_is(made)
    assert tried == [made.output_uri]


def test_what_is_published_already_is_left_alone(
    headless: HeadlessRun, production: Producer, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    made = production(rows_of(a="a fox"))
    headless._publish_as_it_is(made)
    first = (Path(made.output_uri) / "metadata.parquet").stat()
    headless._publish_as_it_is(made)
    assert (Path(made.output_uri) / "metadata.parquet").stat().st_mtime_ns == first.st_mtime_ns


def test_what_was_reserved_for_a_run_that_dagster_never_heard_of_is_free_for_the_next_command(
    headless: HeadlessRun, production: Producer, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    """It would stand still for a minute and a half."""
    production(rows_of(a="a fox", b="an owl"))
    settings = settings_of()
    for batch_id, clip_id in (("unheard-of", "a"), ("queued", "b")):
        ledger.batches.plan(
            batch_id,
            pipeline="",
            account=settings.account_name,
            asset=GENERATIONS,
            keys=[key(clip_id)],
            lease_s=90,
        )
        ledger.attempts.reserve(
            {key(clip_id): 1_200_000},
            account=account_of(settings),
            batch_id=batch_id,
            limits=limits_of(settings),
            lease_s=90,
        )
    instance.create_run_for_job(
        defs.resolve_job_def(GENERATIONS_JOB),
        tags={BATCH_TAG: "queued"},
        status=dg.DagsterRunStatus.NOT_STARTED,
    )
    headless._give_back("")
    assert [attempt.clip_key for attempt in ledger.attempts.live(AttemptState.RESERVED)] == [key("b")]
    assert [batch.batch_id for batch in ledger.batches.unfinished("")] == ["queued"]
    assert ledger.clips.pending(3) == [key("a")]
