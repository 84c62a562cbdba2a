"""A full disk, and a ledger that somebody else has locked, at the moments when it costs most."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sora_pipeline.ledger import Ledger, database
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import Clock, Producer, RunContexts, Sandbox, keys, settings_of
from sora_pipeline_tests.killing.referee import violations

# Its own disk is PostgreSQL's business, and so are its locks; its outages are tested with the ledger's.
pytestmark = pytest.mark.parametrize("postgres_url", ["sqlite"], indirect=True)

CLIP_IDS = [f"clip-{number}" for number in range(6)]

LOCKER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
print("ready", flush=True)
sys.stdin.readline()
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


def judge(ledger: Ledger, identity: str, sandbox: Sandbox) -> None:
    assert publish(ledger, identity, settings_of(), "judge") is not None
    assert violations(ledger, {"sandbox": sandbox.bill()}, sound=keys(*CLIP_IDS)) == []
    assert sandbox.bill()["duplicates"] == []


def test_full_disk_loses_nothing_and_costs_nothing(
    home: Path, ledger: Ledger, sandbox: Sandbox, production: Producer
) -> None:
    """First there is room for the ledger only, then not even for that, while answers to submits arrive."""
    long = {"clip_id": CLIP_IDS[0], "prompt": CLIP_IDS[0], "duration": 12}
    slow = [
        {"clip_id": each, "prompt": f"{each} [sandbox:slow-answer]", "duration": 4} for each in CLIP_IDS[1:]
    ]
    identity = production([long, *slow]).production_id
    address = [f"sqlite:///{home / 'ledger.db'}", sandbox.url, sandbox.endpoint.api_key]
    module = [sys.executable, "-m", "sora_pipeline_tests.killing.short_of_space"]
    done = subprocess.run(
        [*module, *address, *keys(*CLIP_IDS)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert sandbox.billed == len(CLIP_IDS)
    judge(ledger, identity, sandbox)


@pytest.fixture
def hasty_ledger(
    home: Path, clock: Clock, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """The same ledger in hands that wait for a lock for half a second only."""
    monkeypatch.setattr(database, "BUSY_S", 0.5)
    opened = Ledger(f"sqlite:///{home / 'ledger.db'}", now=clock)
    yield opened
    opened.close()


@pytest.mark.anyio
@pytest.mark.parametrize("locked_s", [0.3, 4.0])
async def test_ledger_locked_between_answer_and_commit_forgets_no_submit(
    home: Path,
    hasty_ledger: Ledger,
    sandbox: Sandbox,
    production: Producer,
    impatient: None,
    locked_s: float,
) -> None:
    """Shorter than the busy timeout, and much longer."""
    rows = [{"clip_id": each, "prompt": f"{each} [sandbox:slow-answer]"} for each in CLIP_IDS]
    identity = production(rows).production_id
    locker = subprocess.Popen(  # noqa: ASYNC220 - it is the other process, and talked to in a thread
        [sys.executable, "-c", LOCKER, str(home / "ledger.db"), str(locked_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert locker.stdout is not None
    assert locker.stdout.readline() == "ready\n"
    async with RunContexts(sandbox, hasty_ledger).open(lease_s=1) as run_context, asyncio.timeout(60):
        submitting = asyncio.create_task(
            ensure_predictions(run_context, keys(*CLIP_IDS), batch_id="batch", may_begin=True)
        )
        while sandbox.billed < len(CLIP_IDS):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await asyncio.to_thread(locker.communicate, "now\n")
        results = await submitting
        assert set(results.ready) == set(keys(*CLIP_IDS)), results
        collected = await collect_videos(run_context, keys(*CLIP_IDS), resume_timed_out=False)
        assert set(collected.delivered) == set(keys(*CLIP_IDS)), collected
    judge(hasty_ledger, identity, sandbox)
