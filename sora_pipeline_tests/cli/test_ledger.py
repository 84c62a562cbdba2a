"""A ledger that was lost is rebuilt from Dagster's event log and the outputs, and nothing is paid for twice."""

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from sora_pipeline import runtime
from sora_pipeline.cli.app import app
from sora_pipeline.headless.home import prepare_home
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.ledger.types import Failure
from sora_pipeline.names import (
    CLIPS,
    GENERATIONS_JOB,
    PUBLISH_JOB,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
    VIDEOS_JOB,
)
from sora_pipeline.recovery.attempts import LOST_SUBMIT
from sora_pipeline_tests.automation.conftest import Daemon, daemon
from sora_pipeline_tests.conftest import (
    PROMPTS,
    Producer,
    Rows,
    Sandbox,
    ids,
    key,
    latest,
    lose_ledger,
    standing,
    states,
    url_of_ledger,
    write_manifest,
)

__all__ = ["daemon"]

STUCK = "[sandbox:stuck] a boat"
ROWS: Rows = [
    {"clip_id": "fine", "prompt": "a fox", "campaign": "autumn"},
    {"clip_id": "refused", "prompt": "[sandbox:policy] an owl", "campaign": ""},
    {"clip_id": "lost", "prompt": "[sandbox:lost-answer] a bear", "campaign": ""},
    {"clip_id": "late", "prompt": "[sandbox:policy-late] a cat", "campaign": ""},
    {"clip_id": "other", "prompt": "[sandbox:wrong-size] a dog", "campaign": ""},
    {"clip_id": "stuck", "prompt": STUCK, "campaign": ""},
    {"clip_id": "fresh", "prompt": "a whale", "campaign": ""},
    {"clip_id": "wrong", "prompt": "", "campaign": ""},
]
IDS = [row["clip_id"] for row in ROWS if row["prompt"]]
SUBMITTED = [("monday", "a"), ("monday", "b"), ("tuesday", "a")]
EXPECTED = {
    "fine": "collected",
    "refused": "failed",
    "lost": "ambiguous",
    "late": "failed",
    "other": "failed",
    "stuck": "in_flight",
    "fresh": None,
}
SUBMIT_IN_A_PROCESS = f"""
import sys, dagster as dg
from sora_pipeline.definitions import defs
tags = {{"{RANGE_START_TAG}": sys.argv[1], "{RANGE_END_TAG}": sys.argv[1], "{REQUESTED_BY_TAG}": "dispatch_sensor"}}
with dg.DagsterInstance.get() as instance:
    tags["sora/batch"] = sys.argv[2]
    defs.resolve_job_def("{GENERATIONS_JOB}").execute_in_process(tags=tags, instance=instance)
"""


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The home's own storage, as the command line finds it."""
    prepare_home()
    with dg.DagsterInstance.get() as instance:
        yield instance


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def over(first: str, last: str, job: str, **tags: str) -> dg.RunRequest:
    return dg.RunRequest(job_name=job, tags={RANGE_START_TAG: first, RANGE_END_TAG: last, **tags})


def by_sensor(name: str) -> dict[str, str]:
    return {REQUESTED_BY_TAG: name}


def output_of(production: Producer) -> Path:
    return production.folder / "out" / PROMPTS


def kind_of_failure(ledger: Ledger, clip_id: str) -> str:
    failure = latest(ledger, clip_id).failure
    assert failure is not None
    return failure.kind


def produce(daemon: Daemon, production: Producer, budget: Decimal | None = None) -> str:
    """One clip of every fate."""
    made = production(ROWS, budget=budget)
    path = str(production.folder / "prompts.csv")
    config: dict[str, Any] = {"manifest": path}
    if budget is not None:
        config["budget_usd"] = str(budget)
    read = dg.RunRequest(run_config={"ops": {"prompt_manifest": {"config": config}}})
    assert daemon.run(read, "prompt_manifest_job").success
    daemon.run(over(key("fine"), key("stuck"), GENERATIONS_JOB))
    daemon.run(over(key("fine"), key("other"), VIDEOS_JOB, **by_sensor("poll_sensor")))
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    return made.production_id


def lose(ledger: Ledger, home: Path) -> None:
    ledger.close()
    lose_ledger(home)


def rebuilt(home: Path, *arguments: str) -> tuple[Ledger, dict[str, Any]]:
    result = invoke("ledger", "rebuild", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return Ledger(url_of_ledger(home)), json.loads(result.stdout)


def facts(ledger: Ledger, clip_id: str, production: str = PROMPTS) -> dict[str, Any]:
    attempt = latest(ledger, clip_id, production)
    names = ["number", "fingerprint", "account", "model", "cost_micros", "possibly_billed"]
    return {
        **{name: getattr(attempt, name) for name in names},
        "prediction_id": attempt.submission.prediction_id,
        "poll_url": attempt.submission.poll_url,
        "video": attempt.result.video,
    }


def test_lost_ledger_knows_again_what_was_paid_and_what_became_of_it(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    sandbox: Sandbox,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identity = produce(daemon, production, Decimal(20))
    assert states(ledger, IDS) == EXPECTED
    before = {clip_id: facts(ledger, clip_id) for clip_id in IDS if clip_id != "fresh"}
    spent, billed = ledger.money.of_production(identity), sandbox.bill()
    lose(ledger, home)

    again, said = rebuilt(home)
    assert states(again, IDS) == EXPECTED
    assert {clip_id: facts(again, clip_id) for clip_id in before} == before
    assert again.money.of_production(identity) == spent
    assert again.productions.get(identity).budget_usd == 20
    (shown,) = said["productions"]
    assert shown["counts"] == {"delivered": 1, "failed": 3, "ambiguous": 1, "in_flight": 1, "pending": 1}
    assert (said["spent_usd"], said["notes"]) == (float(spent.spent_usd), [])
    assert kind_of_failure(again, "refused") == "content_policy"
    assert kind_of_failure(again, "other") == "wrong_size"
    assert ids(again.clips.pending(3)) == ["fresh"]

    # And it goes on from there: the manifest is read and published, and what was in flight is polled, for nothing.
    monkeypatch.setattr(runtime, "open_ledger", lambda url: again)
    Producer(production.folder, again, daemon.instance)(ROWS)
    assert ids(again.clips.pending(3)) == ["fresh"]
    assert "rendering" in daemon.tick("poll_sensor").skipped
    assert states(again, IDS) == EXPECTED
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    published = pq.read_table(output_of(production) / "metadata.parquet").to_pylist()
    assert {row["clip_id"]: row["status"] for row in published} == {
        "fine": "delivered",
        "refused": "failed",
        "lost": "ambiguous",
        "late": "failed",
        "other": "failed",
        "stuck": "in_flight",
        "fresh": "pending",
        "wrong": "invalid",
    }
    assert sandbox.bill() == billed
    again.close()


def test_clip_of_a_run_that_was_killed_while_it_submitted_is_ambiguous(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, home: Path
) -> None:
    made = production([{"clip_id": "a", "prompt": "[sandbox:slow-answer] a fox"}])
    sandbox.change(slow_answer_s=60)
    request = daemon.tick("dispatch_sensor").request
    child = subprocess.Popen(
        [sys.executable, "-c", SUBMIT_IN_A_PROCESS, key("a"), request.tags["sora/batch"]],
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        give_up = time.monotonic() + 60
        while not sandbox.billed and time.monotonic() < give_up:
            time.sleep(0.1)
    finally:
        child.kill()
        child.wait()
    assert sandbox.billed == 1
    lose(ledger, home)
    # Nothing of this production is in Dagster's log but the run: it was read by hand.
    again, said = rebuilt(home, "--output", made.output_uri)
    assert latest(again, "a").state == "ambiguous"
    assert latest(again, "a").failure == Failure("ambiguous_submit", LOST_SUBMIT, retryable=False)
    assert said["spent_usd"] == 1.2
    assert again.clips.pending(3) == []
    again.close()


def test_delivered_video_whose_file_is_gone_is_asked_for_again_and_not_paid_again(
    daemon: Daemon, ledger: Ledger, production: Producer, home: Path
) -> None:
    produce(daemon, production)
    video = latest(ledger, "fine").result.video
    assert video is not None
    Path(video.uri).unlink()
    lose(ledger, home)
    again, _ = rebuilt(home)
    assert latest(again, "fine").state == "in_flight"
    assert latest(again, "fine").submission.prediction_id
    again.close()


def test_outputs_alone_are_enough_for_what_was_delivered(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, home: Path
) -> None:
    identity = produce(daemon, production)
    spent = ledger.money.of_production(identity).spent_usd
    lose(ledger, home)
    for asset in ("prompt_manifest", "generations", "videos", "video_manifest"):
        daemon.instance.wipe_assets([dg.AssetKey(asset)])
    for run in daemon.instance.get_runs():
        daemon.instance.delete_run(run.run_id)
    for partition in daemon.instance.get_dynamic_partitions(CLIPS):
        daemon.instance.delete_dynamic_partition(CLIPS, partition)
    output = str(output_of(production))
    refused = invoke("ledger", "rebuild")
    assert refused.exit_code == 2
    assert "--output" in refused.stderr
    again, said = rebuilt(home, "--output", output)
    assert states(again, IDS) == EXPECTED
    assert again.money.of_production(identity).spent_usd == spent
    assert "cannot be known" in said["notes"][0]
    again.close()


def test_productions_that_share_clip_ids_and_accounts_of_one_ledger_come_back_apart(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    sandbox: Sandbox,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {
        "monday": ("studio", [{"clip_id": "a", "prompt": "a fox"}, {"clip_id": "b", "prompt": STUCK}]),
        "tuesday": ("agency", [{"clip_id": "a", "prompt": "an owl"}, {"clip_id": "b", "prompt": "a bear"}]),
    }
    for name, (account, rows) in made.items():
        monkeypatch.setenv("SORA_ACCOUNT", account)
        path = write_manifest(production.folder / f"{name}.csv", rows)
        config = {"manifest": str(path), "budget_usd": "5" if name == "monday" else "7"}
        read = dg.RunRequest(run_config={"ops": {"prompt_manifest": {"config": config}}})
        assert daemon.run(read, "prompt_manifest_job").success
        submitted = ("a", "b") if name == "monday" else ("a", "a")
        first, last = (key(clip_id, name) for clip_id in submitted)
        daemon.run(over(first, last, GENERATIONS_JOB))
        daemon.run(over(key("a", name), key("a", name), VIDEOS_JOB, **by_sensor("poll_sensor")))
    assert sandbox.billed == 3
    expected = {"monday": {"a": "collected", "b": "in_flight"}, "tuesday": {"a": "collected", "b": None}}
    assert {name: states(ledger, ["a", "b"], name) for name in made} == expected
    before = {(name, clip_id): facts(ledger, clip_id, name) for name, clip_id in SUBMITTED}
    lose(ledger, home)

    again, said = rebuilt(home)
    assert {name: states(again, ["a", "b"], name) for name in made} == expected
    assert {(name, clip_id): facts(again, clip_id, name) for name, clip_id in SUBMITTED} == before
    assert {name: latest(again, "a", name).account.name for name in made} == {
        "monday": "studio",
        "tuesday": "agency",
    }
    assert {each.production_id: each.account for each in again.productions.all()} == {
        "monday": "studio",
        "tuesday": "agency",
    }
    assert {each.production_id: each.budget_usd for each in again.productions.all()} == {
        "monday": 5,
        "tuesday": 7,
    }
    assert again.clips.pending(3) == [key("b", "tuesday")]
    assert (said["spent_usd"], said["notes"]) == (3.6, [])
    # And nobody's output is refused to the ledger that took the lost one's place.
    monkeypatch.setattr(runtime, "open_ledger", lambda url: again)
    for name in made:
        assert again.productions.get(name).output_uri == str(production.folder / "out" / name)
        read = dg.RunRequest(
            run_config={
                "ops": {"prompt_manifest": {"config": {"manifest": str(production.folder / f"{name}.csv")}}}
            }
        )
        assert daemon.run(read, "prompt_manifest_job").success
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    assert again.clips.pending(3) == [key("b", "tuesday")]
    assert sandbox.billed == 3
    again.close()


def test_mended_rows_still_stand(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    home: Path,
) -> None:
    produce(daemon, production)
    failed = output_of(production) / "failed.csv"
    with failed.open(encoding="utf-8-sig", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["clip_id"] in ("refused", "wrong")]
    for row in rows:
        row["prompt"] = "an owl that nobody minds"
    write_manifest(failed, rows)
    config = {"manifest": str(failed)}
    read = dg.RunRequest(run_config={"ops": {"prompt_manifest": {"config": config}}})
    assert daemon.run(read, "prompt_manifest_job").success
    # Paid for between the reading and the output manifest that shows it, and after it.
    daemon.run(over(key("refused"), key("refused"), GENERATIONS_JOB))
    daemon.run(over(key("refused"), key("refused"), VIDEOS_JOB))
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    wanted = ledger.clips.pending(3)
    assert ids(wanted) == ["fresh", "wrong"]
    assert standing(ledger, "refused").delivered is not None
    lose(ledger, home)
    again, said = rebuilt(home)
    assert said["notes"] == []
    assert again.clips.pending(3) == wanted
    assert standing(again, "refused").delivered is not None
    assert standing(again, "refused").clip.prompt == "an owl that nobody minds"
    Producer(production.folder, again, daemon.instance)(ROWS)
    assert sorted(again.clips.pending(3)) == sorted(wanted), (
        "reading the manifest again does not bring its old rows back"
    )
    assert standing(again, "refused").clip.prompt == "an owl that nobody minds"
    again.close()


def test_clip_that_the_manifest_no_longer_names_keeps_its_history(
    daemon: Daemon, ledger: Ledger, production: Producer, home: Path
) -> None:
    produce(daemon, production)
    path = write_manifest(production.folder / "prompts.csv", ROWS[1:])
    config = {"manifest": str(path)}
    read = dg.RunRequest(run_config={"ops": {"prompt_manifest": {"config": config}}})
    assert daemon.run(read, "prompt_manifest_job").success
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    lose(ledger, home)
    again, _ = rebuilt(home)
    dropped = standing(again, "fine")
    assert not dropped.active
    assert dropped.delivered is not None
    assert dropped.clip.carried == {"campaign": "autumn"}
    again.close()


def test_lost_snapshots_and_manifest_do_not_have_anything_paid_again(
    daemon: Daemon, ledger: Ledger, production: Producer, home: Path
) -> None:
    produce(daemon, production)
    lose(ledger, home)
    output = output_of(production)
    for path in [*(output / ".snapshots").iterdir(), output / "metadata.parquet"]:
        path.unlink()
    again, said = rebuilt(home)
    assert len(said["notes"]) == 2
    Producer(production.folder, again, daemon.instance)(ROWS)
    assert states(again, IDS) == EXPECTED
    assert ids(again.clips.pending(3)) == ["fresh"]
    assert list((output / ".snapshots").iterdir()), "reading it again writes the snapshot"
    again.close()


def test_row_that_was_changed_is_still_wanted_anew(
    daemon: Daemon, ledger: Ledger, production: Producer, home: Path
) -> None:
    produce(daemon, production)
    changed = [{**ROWS[0], "prompt": "another fox"}, {**ROWS[1], "prompt": "another owl"}, *ROWS[2:]]
    path = write_manifest(production.folder / "prompts.csv", changed)
    config = {"manifest": str(path)}
    read = dg.RunRequest(run_config={"ops": {"prompt_manifest": {"config": config}}})
    assert daemon.run(read, "prompt_manifest_job").success
    wanted = ledger.clips.pending(3)
    assert ids(wanted) == ["fine", "refused", "fresh"]
    lose(ledger, home)
    again, _ = rebuilt(home)
    assert again.clips.pending(3) == wanted
    again.close()


def test_ledger_that_is_not_lost_is_left_alone(ledger: Ledger, production: Producer, home: Path) -> None:
    made = production([{"clip_id": "a", "prompt": "a fox"}])
    with pytest.raises(LedgerError, match="move that file or database away"):
        ledger.restore.require_empty()
    result = subprocess.run(
        [sys.executable, "-m", "sora_pipeline", "ledger", "rebuild"],
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "is not lost" in result.stderr
    assert "Traceback" not in result.stderr
    assert ledger.productions.get(made.production_id) == made


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_output_that_holds_nothing_is_refused(home: Path, tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    result = invoke("ledger", "rebuild", "--output", str(tmp_path / folder))
    assert result.exit_code == 2
    assert f"{tmp_path / folder} holds neither" in result.stderr
    assert "--output" in result.stderr


def test_clips_that_were_cancelled_stay_so(
    home: Path, ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    from sora_pipeline.production.publishing import publish
    from sora_pipeline_tests.conftest import rows_of, settings_of

    made = production(rows_of(a="a fox", b="an owl"))
    ledger.cancellations.cancel(PROMPTS, 3, [key("b")])
    assert publish(ledger, PROMPTS, settings_of(), "me") is not None
    lose_ledger(home)
    result = CliRunner().invoke(app, ["ledger", "rebuild", "--output", made.output_uri])
    assert result.exit_code == 0, result.output
    rebuilt = Ledger(url_of_ledger(home))
    assert ids(rebuilt.clips.pending(3)) == ["a"]
    assert rebuilt.clips.standings([key("b")])[key("b")].cancelled
