"""A ledger is backed up while a real run works, lost, and put back: what was paid for since is paid for once."""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.ledger.backup import back_up
from sora_pipeline_tests.conftest import Sandbox, command, lose_ledger, rows_of, url_of_ledger, write_manifest
from sora_pipeline_tests.headless.conftest import until
from sora_pipeline_tests.headless.test_interrupted import running

CLIPS = {f"c{n}": f"a fox, take {n:02}" for n in range(8)}


@pytest.fixture
def manifest(home: Path, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight clips, of which two render at a time, for some seconds each."""
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "2")
    sandbox.change(render_s=4)
    return write_manifest(tmp_path / "prompts.csv", rows_of(**CLIPS))


def interrupt_after_backup(manifest: Path, sandbox: Sandbox, make_backup: Callable[[], None]) -> None:
    """Let a run work, have the ledger backed up meanwhile, and end the run when more was paid for."""
    with running(manifest) as process:
        until(lambda: sandbox.billed >= 1, 240)
        make_backup()
        paid = sandbox.billed
        until(lambda: sandbox.billed >= paid + 2, 240)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=240)
    sandbox.change(render_s=0.4)


def tool(name: str, *arguments: str) -> None:
    subprocess.run([name, *arguments], check=True, capture_output=True)


def finish(manifest: Path, home: Path, sandbox: Sandbox) -> None:
    """Do what the page says, and look at the bill."""
    paid = sandbox.billed
    said = json.loads(command("ledger", "restored", "--json").stdout)
    assert said["paused"] == ["prompts"]
    assert said["attempts"] >= 2
    ledger = Ledger(url_of_ledger(home))
    known = ledger.attempts.of_production("prompts")
    assert sum(attempt.submission.prediction_id is not None for attempt in known) == paid, "the whole bill"
    command("resume", "--production", "prompts")
    # Of what a run may have submitted without a word about it the person finds nothing on the provider's dashboard.
    doubtful = [each.clip_id for each in known if each.state is AttemptState.AMBIGUOUS]
    assert not any(sandbox.billed_for(CLIPS[clip_id]) for clip_id in doubtful)
    if doubtful:
        command("retry", "--yes", *(word for clip_id in doubtful for word in ("--clip", clip_id)))
    assert command("run", str(manifest)).returncode == 0
    assert sandbox.bill()["accepted"] == len(CLIPS)
    assert [sandbox.billed_for(prompt) for prompt in CLIPS.values()] == [1] * len(CLIPS)
    made = ledger.attempts.of_production("prompts")
    assert sum(attempt.state is AttemptState.COLLECTED for attempt in made) == len(CLIPS)
    ledger.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("postgres_url", ["sqlite"], indirect=True)
def test_older_ledger_in_sqlite_pays_for_nothing_twice_though_dagsters_storage_is_lost(
    manifest: Path, home: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    copy = tmp_path / "backup.db"

    def back_up_at_once() -> None:  # the command takes seconds to begin, and the run would be done
        ledger = Ledger(url_of_ledger(home))
        back_up(ledger.database, copy, ledger.now())
        ledger.close()

    interrupt_after_backup(manifest, sandbox, back_up_at_once)
    assert copy.stat().st_mode & 0o077 == 0
    lose_ledger(home)
    for folder in ("history", "schedules", "storage"):
        shutil.rmtree(home / folder, ignore_errors=True)
    shutil.copy(copy, home / "ledger.db")
    unready = command("run", str(manifest), "--timeout", "60")
    assert "sora-pipeline ledger restored" in unready.stderr, "a backup that was only put back is refused"
    finish(manifest, home, sandbox)


@pytest.mark.services
@pytest.mark.timeout(900)
@pytest.mark.parametrize("postgres_url", ["postgresql"], indirect=True)
def test_older_ledger_in_postgresql_pays_for_nothing_twice(
    manifest: Path, home: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    database = url_of_ledger(home).replace("+psycopg2", "")
    dump = str(tmp_path / "ledger.dump")

    def dump_it() -> None:
        tool("pg_dump", "--format", "custom", "--file", dump, database)

    interrupt_after_backup(manifest, sandbox, dump_it)
    refused = command("ledger", "backup", dump)
    assert refused.returncode == 2
    assert "pg_dump" in refused.stderr
    tool("pg_restore", "--clean", "--if-exists", "--single-transaction", "--dbname", database, dump)
    finish(manifest, home, sandbox)
