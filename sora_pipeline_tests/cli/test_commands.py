import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from sora_pipeline.cli.app import app
from sora_pipeline.cli.check import _verdict
from sora_pipeline.cli.output import console
from sora_pipeline.cli.run import _finish, _what_next
from sora_pipeline.clip import Clip, Size
from sora_pipeline.headless.home import prepare_home
from sora_pipeline.headless.run import Ended
from sora_pipeline.ledger import Account, Ledger, Limits, Plan, Reading
from sora_pipeline.ledger.batches import GENERATIONS
from sora_pipeline.names import PipelineNames
from sora_pipeline.production.invalid_rows import invalid_rows
from sora_pipeline.production.publishing import publish
from sora_pipeline.run_locks import run_lock
from sora_pipeline_tests.conftest import (
    PROMPTS,
    Producer,
    Sandbox,
    keys,
    rows_of,
    settings_of,
    write_manifest,
)
from sora_pipeline_tests.production.parts import SANDBOX

KEY = "sk-very-secret"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def in_a_process(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Where it matters what the console script does with an error."""
    return subprocess.run(
        [sys.executable, "-m", "sora_pipeline", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_manifest(tmp_path / "good.csv", rows_of(a="a fox", b="an owl"))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {"clip_id": "a", "prompt": "a fox", "duration": "4"},
        {"clip_id": "b", "prompt": "an owl", "duration": "5"},
        {"clip_id": "c", "prompt": "", "duration": "8"},
    ]
    return write_manifest(tmp_path / "bad.csv", rows)


def test_check_of_a_good_manifest_says_what_it_costs(home: Path, good: Path) -> None:
    result = invoke("check", str(good))
    assert result.exit_code == 0
    assert "2 clips are fine" in result.stdout
    assert "price: 2.40 sandbox USD" in result.stdout


def test_check_lists_every_problem_with_where_and_what_is_allowed(home: Path, bad: Path) -> None:
    result = invoke("check", str(bad))
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if line.startswith("✗")]
    assert len(lines) == 2
    duration, prompt = lines
    for word in (str(bad), "row 3", "duration", "5", "4, 8", "12"):
        assert word in duration
    for word in (str(bad), "row 4", "prompt"):
        assert word in prompt


@pytest.mark.parametrize(
    ("clips", "invalid", "verdict"),
    [
        (0, 0, "nothing can be produced: there is no row"),
        (0, 1, "nothing can be produced: 1 row cannot be used"),
        (1, 0, "1 clip is fine"),
        (1, 2, "1 clip is fine, 2 rows cannot be used (what is fine can be produced all the same)"),
        (2, 1, "2 clips are fine, 1 row cannot be used (what is fine can be produced all the same)"),
    ],
)
def test_check_says_how_much_of_it_is_fine(clips: int, invalid: int, verdict: str) -> None:
    assert _verdict(clips, invalid) == verdict


def test_check_as_json_is_one_object_and_nothing_else(home: Path, bad: Path) -> None:
    result = invoke("check", str(bad), "--json")
    assert result.exit_code == 2
    said = json.loads(result.stdout)
    assert (said["clips"], said["invalid_rows"]) == (1, 2)
    assert {(each["row"], each["column"]) for each in said["problems"]} == {(3, "duration"), (4, "prompt")}
    assert [(each["row_number"], each["place"]) for each in said["problems"]] == [(2, "row 3"), (3, "row 4")]
    assert all(each["allowed"] for each in said["problems"])


def test_check_says_what_is_only_carried_through(home: Path, tmp_path: Path) -> None:
    manifest = write_manifest(
        tmp_path / "notes.csv", [{"prompt": "a fox", "lenght": "8", "seed": "7", "note": "n"}]
    )
    said = invoke("check", str(manifest)).stderr
    assert "carried through to the output as they are: lenght, note\n" in said, (
        "a seed that no model takes is refused"
    )
    assert (
        'the column "lenght" is carried through as it is, and every clip is 4 s long; did you mean "duration"?'
        in said
    )


def test_check_says_which_clips_a_manifest_would_take_out_of_its_production(
    home: Path, tmp_path: Path, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear", d="a whale"), file="shots.csv")
    fewer = [*rows_of(a="a fox", b="another owl", new="a newt"), {"clip_id": "d", "prompt": ""}]
    other = write_manifest(tmp_path / "other.csv", fewer)
    said = invoke("check", str(other), "--name", "shots").stderr
    assert "1 clip of the production shots is not in this manifest, which takes the place of" in said
    assert "not in this manifest" not in invoke("check", str(other)).stderr, "it is a production of its own"
    whole = write_manifest(tmp_path / "whole.csv", rows_of(a="a fox", b="an owl", c="a bear", d="a whale"))
    assert "not in this manifest" not in invoke("check", str(whole), "--name", "shots").stderr


def test_a_new_ledger_is_told_of_before_a_clip_is_paid_for(
    home: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "is new" not in invoke("check", str(good)).stderr, "the sandbox's dollars are not real"
    monkeypatch.setenv("SORA_PROVIDER", "gptproto")
    monkeypatch.setenv("SORA_API_KEY", KEY)
    monkeypatch.delenv("SORA_BASE_URL", raising=False)
    said = invoke("check", str(good)).stderr
    assert f"the ledger in {home} is new" in said
    assert "DAGSTER_HOME" in said


def test_check_pays_nothing_and_needs_no_provider(
    home: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", "http://127.0.0.1:9")
    assert invoke("check", str(good)).exit_code == 0


def test_file_that_is_not_there_is_one_line_and_exit_code_2(home: Path, tmp_path: Path) -> None:
    result = in_a_process("run", str(tmp_path / "missing.csv"))
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert "missing.csv" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_settings_error_names_the_variable_and_never_shows_the_key(home: Path, good: Path) -> None:
    result = in_a_process("check", str(good), SORA_MAX_IN_FLIGHT="many", SORA_API_KEY=KEY)
    assert result.returncode == 2
    assert "SORA_MAX_IN_FLIGHT=many" in result.stderr
    assert KEY not in result.stderr + result.stdout
    assert "Traceback" not in result.stderr


def test_run_of_nothing_valid_submits_nothing(home: Path, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "all_bad.csv", [{"prompt": "a fox", "duration": "5"}])
    result = invoke("run", str(manifest))
    assert result.exit_code == 2
    assert "no valid row" in result.stderr


@pytest.mark.parametrize("budget", ["a lot", "-1", "NaN"])
def test_run_with_a_budget_that_is_no_amount_is_refused(home: Path, good: Path, budget: str) -> None:
    result = invoke("run", str(good), f"--budget={budget}")
    assert result.exit_code == 2
    assert "--budget" in result.output


def test_status_of_an_empty_home_leaves_it_empty(home: Path) -> None:
    before = set(home.iterdir())
    assert "nothing was produced so far" in invoke("status").stdout
    assert json.loads(invoke("status", "--json").stdout)["productions"] == []
    assert set(home.iterdir()) == before


def test_status_shows_every_clip(home: Path, ledger: Ledger, production: Producer) -> None:
    production(rows_of(a="a fox", b="an owl"))
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    result = invoke("status")
    assert result.exit_code == 0
    assert "2 pending" in result.stdout
    assert "top the account up" in result.stderr
    said = json.loads(invoke("status", "--json").stdout)
    assert said["productions"][0]["counts"] == {"pending": 2}
    assert said["breakers"][0]["kind"] == "no_balance"
    assert [row["clip_id"] for row in said["clips"]] == ["a", "b"]


def test_status_cuts_no_id_however_narrow_a_terminal_is(
    home: Path, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["a-rather-long-clip-id-of-a-fox-that-runs-in-the-snow", "b"]
    production([{"clip_id": name, "prompt": "a fox"} for name in names])
    for width in (30, 50, 80, 200):
        monkeypatch.setattr(console, "width", width)
        monkeypatch.setattr(console, "breaks_lines", True)
        lines = [line.rstrip() for line in invoke("status").stdout.splitlines()]
        for name in names:
            assert any(line.split()[:1] == [name] for line in lines), width


def test_status_says_nothing_of_what_another_pipelines_settings_decide(home: Path, ledger: Ledger) -> None:
    account = Account("acme", "gptproto", simulated=False)
    plan = Plan("autumn", "acme", "/autumn.csv", str(home / "autumn"), account)
    ledger.productions.request(plan)
    clip = Clip("a", 1, "a fox", None, None, "sora-2-pro", False, 4, Size(720, 1280), 1, {})
    reading = Reading("s", "m", "h", [clip], {}, ledger.now())
    ledger.productions.record_snapshot(plan, reading)
    result = invoke("status", "--no-clips")
    assert "of the pipeline acme" in result.stdout
    assert result.stderr == ""
    (shown,) = json.loads(invoke("status", "--json").stdout)["productions"]
    assert shown["stopped"] is None


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"delivered": 1, "failed": 1}, ["out/failed.csv"]),
        ({"invalid": 2}, ["2 rows cannot be used (row 2, row 3): mend that in"]),
        ({"failed": 1, "invalid": 2}, ["retry --production prompts", "and run out/failed.csv, which"]),
        ({"ambiguous": 2}, ["2 clips may have been billed"]),
        ({"failed": 2, "cancelled": 2}, ["--production prompts --kind cancelled"]),
        ({"failed": 2, "cancelled": 1}, ["--kind cancelled", "out/failed.csv"]),
        ({"failed": 1, "ambiguous": 1}, ["out/failed.csv", "--production prompts --clip ID"]),
    ],
)
def test_the_end_of_a_run_says_what_can_be_done(
    production: Producer, counts: dict[str, int], words: list[str]
) -> None:
    places = ["row 2", "row 3"][: counts.get("invalid", 0)]
    sentences = _what_next(Counter(counts), production(rows_of(a="a fox")), "out/failed.csv", places)
    assert len(sentences) == len(words)
    assert all(word in sentence for word, sentence in zip(words, sentences, strict=True))


def test_a_run_that_was_stopped_says_it_too(
    home: Path, ledger: Ledger, production: Producer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = production([*rows_of(a="a fox"), {"clip_id": "b", "prompt": ""}])
    ended = Ended(None, stopped="the --timeout was reached")
    assert _finish(ledger, settings_of(), made, ended, as_json=False) == 3
    said = capsys.readouterr().err.splitlines()
    assert said[-2] == "error: the --timeout was reached"
    assert said[-1].startswith(f"1 row cannot be used (row 3): mend that in {made.manifest_uri}")
    assert f"{made.output_uri}/failed.csv" in said[-1]


def test_status_counts_rows_that_cannot_be_used_of_every_production(
    home: Path, ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    bad = [*rows_of(a="a fox"), {"clip_id": "b", "prompt": ""}, {"prompt": "", "duration": "5"}]
    made = production(bad, name="bad", file="bad.csv")
    production(rows_of(a="a fox"), name="good", file="good.csv")
    shown = invoke("status", "--no-clips").stdout
    sentence = "  2 rows of its manifest cannot be used: "
    assert f"{sentence}`sora-pipeline check {made.manifest_uri}` says what is wrong" in shown
    assert shown.count("cannot be used") == 1
    assert publish(ledger, "bad", settings_of(), "a test") is not None
    failed = f"{made.output_uri}/failed.csv"
    assert f"{sentence}{failed} says what is wrong" in invoke("status").stdout
    said = {each["production"]: each for each in json.loads(invoke("status", "--json").stdout)["productions"]}
    assert (said["bad"]["invalid_rows"], said["bad"]["failed_csv"]) == (2, failed)
    assert (said["good"]["invalid_rows"], said["good"]["failed_csv"]) == (0, None)
    (without_id,) = (bad_id for row, bad_id in invalid_rows(ledger, made) if row.clip_id is None)
    mended = {"production": "bad", "prompt": "an owl", "error_message": "it is wrong"}
    write_manifest(tmp_path / "mended.csv", [{**mended, "clip_id": each} for each in ("b", without_id)])
    production.read(tmp_path / "mended.csv")
    assert "cannot be used" not in invoke("status").stdout, "rows that were amended are clips"


def test_status_reads_the_clips_of_a_large_production_only_where_they_are_asked_for(
    home: Path, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = production(rows_of(fox="a fox", owl="an owl"))
    monkeypatch.setattr("sora_pipeline.cli.status.MOST_LISTED", 1)
    looked = invoke("status")
    assert "2 pending" in looked.stdout
    assert "owl" not in looked.stdout
    named = f"--production {made.production_id}"
    assert f"`sora-pipeline status {named}` lists" in looked.stderr
    for asked in ("--clips", named, "--json"):
        assert "owl" in invoke("status", *asked.split()).stdout, asked
    assert "lists" not in invoke("status", "--no-clips").stderr


def test_status_says_that_nobody_works(home: Path, ledger: Ledger, production: Producer) -> None:
    made = production(rows_of(fox="a fox"))
    looked = invoke("status")
    assert f"no Dagster daemon is at work on {home}" in looked.stderr
    assert f"`sora-pipeline run {made.manifest_uri} --name {made.production_id}`" in looked.stderr
    assert "no Dagster daemon" in json.loads(invoke("status", "--json").stdout)["waits_for"]
    watched = invoke("watch")
    assert watched.exit_code == 3
    assert "no Dagster daemon" in watched.stderr


def test_status_says_that_nobody_works_as_soon_as_the_run_that_did_has_ended(
    home: Path, ledger: Ledger, production: Producer
) -> None:
    made = production(rows_of(fox="a fox"))
    ledger.batches.begin(
        "batch",
        "run",
        pipeline=made.pipeline,
        account="sandbox",
        asset=GENERATIONS,
        keys=keys("fox"),
        lease_s=600,
    )
    with run_lock(home / PipelineNames(made.pipeline).run_lock_folder, "run"):
        assert "no Dagster daemon" not in invoke("status").stderr
    assert "no Dagster daemon" in invoke("status").stderr


def test_retry_names_clips_that_nobody_knows(home: Path, ledger: Ledger, production: Producer) -> None:
    production(rows_of(a="a fox"))
    result = invoke("retry", "--clip", "nobody", "--clip", "a")
    assert result.exit_code == 2
    assert "--clip nobody" in result.stderr
    assert "a needs no retry" in result.stderr
    assert invoke("retry").exit_code == 0


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_row_that_cannot_be_used_is_no_unknown_clip(
    home: Path, ledger: Ledger, production: Producer, command: str
) -> None:
    made = production([*rows_of(a="a fox"), {"clip_id": "b", "prompt": "", "duration": "5"}])
    for name in ("b", f"{PROMPTS}:b"):
        result = invoke(command, "--clip", name)
        assert result.exit_code == 2
        for words in (
            f"--clip {name}: its row cannot be used. {made.manifest_uri}, row 3, column",
            "duration:",
        ):
            assert words in result.stderr
    said = json.loads(invoke(command, "--clip", "b", "--clip", "nobody", "--json").stdout)
    assert (said["exit_code"], said["unknown"]) == (2, ["b", "nobody"])
    assert "row 3" in said["error"]
    assert "--clip nobody: no manifest that was read names this clip" in said["error"]
    fine = json.loads(invoke(command, "--clip", "a", "--json").stdout)
    assert (fine["exit_code"], fine["error"]) == (0, None)


def test_amended_row_is_a_clip_again(
    home: Path, ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    production([*rows_of(a="a fox"), {"clip_id": "b", "prompt": ""}])
    mended = {"production": PROMPTS, "clip_id": "b", "prompt": "an owl", "error_message": "it is blank"}
    write_manifest(tmp_path / "mended.csv", [mended])
    production.read(tmp_path / "mended.csv")
    assert "b needs no retry" in invoke("retry", "--clip", "b").stderr
    (tmp_path / "out").rename(tmp_path / "away")
    assert "no manifest that was read names this clip" in invoke("retry", "--clip", "c").stderr


def test_what_a_manifest_asked_for_before_is_said(home: Path, production: Producer, tmp_path: Path) -> None:
    rows: list[dict[str, str]] = [
        {"clip_id": "fox", "prompt": "a fox", "takes": "2", "duration": "4"},
        {"clip_id": "owl", "prompt": "an owl", "takes": "", "duration": "4"},
    ]
    production(rows)
    production([{**rows[0], "duration": "5"}], file="prompts.csv")
    assert (
        "1 clip of the production prompts is not in this manifest"
        not in invoke(
            "check", str(write_manifest(tmp_path / "prompts.csv", [{**rows[0], "duration": "5"}, rows[1]]))
        ).stderr
    )
    gone = json.loads(
        invoke("check", str(write_manifest(tmp_path / "prompts.csv", [rows[0]])), "--json").stdout
    )
    assert gone["leaving_clips"] == 0, "it has left already"
    said = invoke("retry", "--clip", f"{PROMPTS}:owl", "--clip", "owl").stderr
    assert said.count("does not ask for this clip of prompts any more") == 2
    assert "its row cannot be used" in invoke("retry", "--clip", "fox").stderr


def test_resume_closes_the_breaker(home: Path, ledger: Ledger) -> None:
    ledger.breakers.open("sandbox", "bad_token", "HTTP 401")
    assert "submits go on" in invoke("resume").stdout
    assert ledger.breakers.get("sandbox") is None
    assert "were not stopped" in invoke("resume").stdout


def test_version_and_help() -> None:
    assert invoke("--version").stdout.startswith("sora-pipeline ")
    shown = invoke("--help").stdout
    assert all(name in shown for name in ("check", "run", "status", "retry", "sandbox"))


def test_models_prints_formats_and_prices(home: Path) -> None:
    result = invoke("models", "--json")
    assert result.exit_code == 0
    models = {model["name"]: model for model in json.loads(result.stdout)["models"]}
    assert models["sora-2-pro"]["usd_per_second"]["1024x1792"] == 0.5
    assert "gptproto" in models["sora-2-pro"]["formats"]


def test_models_of_a_users_catalogue_are_known_everywhere(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = tmp_path / "more.toml"
    catalogue.write_text('[models."sora-2"]\ndurations = [4, 8, 12, 20]\n')
    monkeypatch.setenv("SORA_CATALOGUE", str(catalogue))
    manifest = write_manifest(
        tmp_path / "long.csv", [{"prompt": "a fox", "duration": "20", "model": "sora-2"}]
    )
    assert invoke("check", str(manifest)).exit_code == 0


def test_row_with_a_model_that_the_provider_does_not_reach_is_a_problem(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_PROVIDER", "gptproto")
    monkeypatch.setenv("SORA_API_KEY", KEY)
    manifest = write_manifest(
        tmp_path / "other.csv", [{"prompt": "a fox", "duration": "5", "model": "wan-2.6"}]
    )
    result = invoke("check", str(manifest))
    assert result.exit_code == 2
    assert "wan-2.6" in result.stderr
    assert "sora-2-pro" in result.stderr


def test_doctor_finds_nothing_wrong_with_a_healthy_provider(
    home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    result = invoke("doctor", "--json")
    findings = {each["subject"]: each["healthy"] for each in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 0, result.stdout
    assert findings["key"] is True
    assert findings["model"] is True
    assert sandbox.billed == 0


def test_doctor_says_what_is_wrong_and_never_the_key(
    home: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", KEY)
    monkeypatch.setenv("SORA_MODEL", "sora-2")
    sandbox.change(model_gone=True)
    result = invoke("doctor")
    assert result.exit_code == 2
    assert "SORA_API_KEY" in result.stdout
    assert KEY not in result.stdout + result.stderr


def test_doctor_with_nobody_at_the_address_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_PROVIDER", "gptproto")
    monkeypatch.setenv("SORA_API_KEY", KEY)
    monkeypatch.setenv("SORA_BASE_URL", "http://127.0.0.1:9")
    result = invoke("doctor")
    assert result.exit_code == 2
    assert "http://127.0.0.1:9" in result.stdout


def test_doctor_says_that_an_account_has_moved_as_commands_would(
    home: Path, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    production(rows_of(a="fox"), provider="gptproto")
    account = Account("gptproto", "gptproto", simulated=False)
    ledger.accounts.use(account, "http://127.0.0.1:8")
    submit(ledger, "a", account=account)
    monkeypatch.setenv("SORA_PROVIDER", "gptproto")
    monkeypatch.setenv("SORA_API_KEY", KEY)
    monkeypatch.setenv("SORA_BASE_URL", "http://127.0.0.1:9")
    result = invoke("doctor")
    assert result.exit_code == 2
    assert "1 prediction open at http://127.0.0.1:8" in result.stdout
    assert "SORA_ACCOUNT" in result.stdout


def test_check_says_how_many_clips_the_budgets_allow(
    home: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BUDGET_USD", "1.50")
    monkeypatch.setenv("SORA_BUDGET_DAILY_USD", "100")
    result = invoke("check", str(good))
    assert result.exit_code == 0
    assert "0.00 of 1.50 sandbox USD" in result.stdout
    assert "1 of 2 clips to pay fits the budget" in result.stdout
    said = json.loads(invoke("check", str(good), "--json").stdout)
    assert (said["clips_to_pay"], said["clips_within_budget"], said["budget_daily_usd"]) == (2, 1, 100)


def test_costs_by_a_column_of_the_manifest(home: Path, ledger: Ledger, production: Producer) -> None:
    assert "nothing was billed" in invoke("costs").stdout
    rows = [{"clip_id": each, "prompt": each, "campaign": "spring [1]"} for each in ("a", "b")]
    production(rows)
    submit(ledger, "a", "b")
    result = invoke("costs", "--by", "campaign", "--by", "model")
    assert result.exit_code == 0
    assert "spring [1]" in result.stdout
    said = json.loads(invoke("costs", "--by", "campaign", "--json").stdout)
    assert said["simulated_lines"] == [
        {"campaign": "spring [1]", "clips": 2, "attempts": 2, "delivered": 0, "spent_usd": 2.4}
    ]
    assert (said["simulated_usd"], said["lines"], said["spent_usd"]) == (2.4, [], 0)
    assert "'campain'" in invoke("costs", "--by", "campain").stderr
    assert invoke("costs", "--by", "Campaign", "--by", "model").stdout.lower() == result.stdout.lower()


def test_costs_as_a_file_for_a_spreadsheet(
    home: Path, ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    """What looks like a formula stays text there, and a manifest's column may be called as a sum is."""
    rows = [{"clip_id": each, "prompt": each, "clips": '=HYPERLINK("x")', "=1": "ü"} for each in ("a", "b")]
    production(rows)
    submit(ledger, "a", "b")
    path = tmp_path / "costs.csv"
    assert invoke("costs", "--by", "clips", "--by", "=1", "--csv", str(path)).exit_code == 0
    assert path.read_text("utf-8-sig").splitlines() == [
        "clips (manifest),'=1,clips,attempts,delivered,spent_usd,simulated",
        '"\'=HYPERLINK(""x"")",ü,2,2,0,2.4,True',
    ]
    refused = invoke("costs", "--csv", str(tmp_path / "nowhere" / "costs.csv"))
    assert refused.exit_code == 2
    assert "cannot be written" in refused.stderr


def submit(ledger: Ledger, *clip_ids: str, account: Account = SANDBOX) -> None:
    """As if a run had submitted them."""
    made = ledger.attempts.reserve(
        dict.fromkeys(keys(*clip_ids), 1_200_000),
        account=account,
        batch_id="batch",
        limits=Limits(20, 3),
        lease_s=60,
    )
    for attempt in made.reserved:
        assert ledger.attempts.begin_submit(attempt.attempt_id, "run", lease_s=60, request_summary={})
        assert ledger.attempts.accept(
            attempt.attempt_id,
            prediction_id=attempt.clip_id,
            poll_url=None,
            provider_status="queued",
            model_returned=None,
            deadline_s=60,
            first_poll_s=1,
        )


@pytest.mark.parametrize(
    ("url", "healthy", "said"),
    [
        ("", None, "SORA_NOTIFY_URL is not set"),
        ("https://hooks.example/a-very-secret-address", True, "hooks.example is told of"),
        ("https:///a-very-secret-address", False, "names no host"),
    ],
)
def test_doctor_says_whether_anybody_is_told_and_shows_no_more_than_the_host(
    home: Path,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    healthy: bool | None,
    said: str,
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    monkeypatch.setenv("SORA_NOTIFY_URL", url)
    result = invoke("doctor", "--json")
    (found,) = (each for each in json.loads(result.stdout)["findings"] if each["subject"] == "webhook")
    assert found["healthy"] is healthy
    assert said in found["sentence"]
    assert "a-very-secret-address" not in result.output


def test_doctor_says_what_an_older_dagster_yaml_lacks(home: Path) -> None:
    (home / "dagster.yaml").write_text("run_monitoring:\n  enabled: true\n")
    said = {each["subject"]: each for each in json.loads(invoke("doctor", "--json").stdout)["findings"]}
    assert said["dagster.yaml"]["healthy"] is None
    assert "run_queue.max_user_code_failure_retries" in said["dagster.yaml"]["sentence"]
    assert "run_monitoring" not in said["dagster.yaml"]["sentence"]


def test_doctor_finds_nothing_missing_in_the_dagster_yaml_that_is_shipped(home: Path) -> None:
    prepare_home()
    assert (home / "dagster.yaml").exists()
    said = {each["subject"] for each in json.loads(invoke("doctor", "--json").stdout)["findings"]}
    assert "home" in said
    assert "dagster.yaml" not in said
