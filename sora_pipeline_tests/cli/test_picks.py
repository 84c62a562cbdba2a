"""``retry --picks``: the price is said first, and nothing is paid before somebody agrees to it."""

import contextlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sora_pipeline.cli.app import app
from sora_pipeline.ledger import Ledger
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.cli.test_commands import in_a_process
from sora_pipeline_tests.conftest import Producer, Sandbox, key, keys, rows_of, standing
from sora_pipeline_tests.production.parts import video_of

pytestmark = pytest.mark.anyio

HEADER = "production,clip_id,pick,note,file_name"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["retry", *arguments])


@pytest.fixture
async def picks(
    run_context: RunContext,
    production: Producer,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Two clips are delivered, of which one was marked bad; and one has failed and was marked bad, too."""
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    production(rows_of(a="a fox", b="an owl", c="[sandbox:policy] a bear"))
    await ensure_predictions(run_context, keys("a", "b", "c"), batch_id="run", may_begin=True)
    await collect_videos(run_context, keys("a", "b", "c"), resume_timed_out=True)
    a, b = (video(run_context.ledger, clip_id) for clip_id in ("a", "b"))
    return written(tmp_path, f"prompts,a,bad,six fingers,{a}", f"prompts,b,good,,{b}", "prompts,c,bad,,")


def written(folder: Path, *rows: str) -> Path:
    path = folder / "picks.csv"
    before = path.read_text().splitlines() if path.exists() else [HEADER]
    path.write_text("\n".join([*before, *rows, ""]))
    return path


def only_first(picks: Path) -> Path:
    picks.write_text("\n".join(picks.read_text().splitlines()[:2]))
    return picks


def video(ledger: Ledger, clip_id: str) -> str:
    delivered = standing(ledger, clip_id).delivered
    assert delivered is not None
    return video_of(delivered).file_name


async def test_without_an_agreement_nothing_is_changed(picks: Path, ledger: Ledger) -> None:
    result = invoke("--picks", str(picks))
    assert result.exit_code == 2
    assert "1 delivered clip is marked bad: making it anew costs 1.20 sandbox USD" in result.stderr
    assert "--yes" in result.stderr
    assert ledger.clips.pending(3) == []


async def test_bad_clips_are_made_anew_once_that_is_agreed_to(picks: Path, ledger: Ledger) -> None:
    result = invoke("--picks", str(picks), "--yes")
    assert result.exit_code == 0, result.stderr
    assert "made anew, for 1.20 sandbox USD: prompts:a" in result.stdout
    assert "submitted again, for 1.20 sandbox USD: prompts:c" in result.stdout
    assert sorted(ledger.clips.pending(3)) == keys("a", "c")
    again = invoke("--picks", str(picks), "--yes")
    assert again.exit_code == 0
    assert "prompts:a needs no retry" in again.stderr


async def test_who_makes_them_is_said_where_nothing_but_delivered_clips_was_marked(picks: Path) -> None:
    result = invoke("--picks", str(only_first(picks)), "--yes")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("prompts: a running daemon goes on with it by itself") == 1
    assert "nothing to retry" not in result.stdout


def asked_at_a_terminal(picks: Path, answer: str) -> str:
    """What a person is told who gives this answer."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "sora_pipeline", "retry", "--picks", str(picks)]
    shown = b""
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, answer.encode())
        with contextlib.suppress(OSError):  # at the end of what the process had to say
            while more := os.read(ours, 4096):
                shown += more
        process.wait(120)
    os.close(ours)
    return " ".join(shown.decode().split())


@pytest.mark.parametrize(("answer", "pending"), [("y\ny\n", keys("a", "c")), ("n\n", [])])
async def test_person_at_a_terminal_is_asked(
    picks: Path, ledger: Ledger, answer: str, pending: list[str]
) -> None:
    shown = asked_at_a_terminal(picks, answer)
    assert "costs 1.20 sandbox USD. Go on?" in shown
    assert ("nothing was changed" in shown) == (not pending)
    assert sorted(ledger.clips.pending(3)) == pending


async def test_file_that_cannot_be_used_is_a_sentence(picks: Path, ledger: Ledger) -> None:
    written(picks.parent, "prompts,d,terrible,,")
    result = in_a_process("retry", "--picks", str(picks), "--yes")
    assert result.returncode == 2
    assert f'{picks}, row 5, column pick: "terrible" is no pick; allowed: good, bad' in result.stderr
    assert "Traceback" not in result.stderr
    assert ledger.clips.pending(3) == []


async def test_clips_of_nobody_are_named_and_the_others_go_on(picks: Path, ledger: Ledger) -> None:
    written(picks.parent, "prompts,gone,bad,,", "elsewhere,a,bad,,")
    result = invoke("--picks", str(picks), "--yes")
    assert result.exit_code == 2
    for named in ("row 4: prompts:gone", "row 5: elsewhere:a"):
        assert named in result.stderr
    assert key("a") in ledger.clips.pending(3)


async def test_only_the_named_production_is_meant(picks: Path, ledger: Ledger, production: Producer) -> None:
    production(rows_of(a="another fox"), file="other.csv")
    result = invoke("--picks", str(picks), "--yes", "--production", "other")
    assert result.exit_code == 2
    assert "prompts:a is no clip of other" in result.stderr
    assert key("a") not in ledger.clips.pending(3)
