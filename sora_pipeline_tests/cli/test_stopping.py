"""``cancel``, ``pause``, ``resume``, ``budget`` and ``retry``: what a person stops, and has go on, from the command line."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sora_pipeline.admission.limits import account_of
from sora_pipeline.ledger import Account, Ledger
from sora_pipeline_tests.cli.test_commands import invoke, submit
from sora_pipeline_tests.conftest import PROMPTS, Producer, keys, latest, rows_of, settings_of, standing
from sora_pipeline_tests.production.parts import SANDBOX


def said(*arguments: str) -> Any:
    return json.loads(invoke(*arguments, "--json").stdout)


def fail(ledger: Ledger, clip_id: str, kind: str, account: Account = SANDBOX) -> None:
    """As if the provider had refused what was submitted."""
    submit(ledger, clip_id, account=account)
    attempt_id = latest(ledger, clip_id).attempt_id
    assert ledger.attempts.fail(attempt_id, kind, "it says so", retryable=False, reported=True)


def test_cancel_says_what_it_cannot_stop_and_what_that_costs(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    submit(ledger, "a")
    result = invoke("cancel", "--production", PROMPTS)
    assert result.exit_code == 0
    assert "2 clips are cancelled" in result.stdout
    assert "--kind cancelled" in result.stdout
    assert "1 clip is at the provider already" in result.stdout
    assert "1.20 sandbox USD" in result.stdout
    assert said("status")["productions"][0]["counts"] == {"failed": 2, "in_flight": 1}
    rows = {row["clip_id"]: row for row in said("status")["clips"]}
    assert (rows["b"]["status"], rows["b"]["error_kind"]) == ("failed", "cancelled")


def test_cancel_of_one_clip_leaves_the_others_and_the_other_production(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    for name in ("monday", "tuesday"):
        production(rows_of(a="a fox", b="an owl"), name=name, file=f"{name}.csv")
    refused = invoke("cancel", "--clip", "a")
    assert "several productions have a clip of the id a" in str(refused.exception)
    assert said("cancel", "--production", "monday", "--clip", "a")["cancelled"]["monday"]["stopped"] == 1
    assert set(ledger.clips.pending(3)) == {"monday:b", "tuesday:a", "tuesday:b"}


@pytest.mark.parametrize(
    ("changed", "made"),
    [
        ({}, []),
        ({"account": "another"}, []),
        ({"model": "sora-2"}, ["b"]),
        ({"provider": "gptproto", "api_key": SecretStr("sk-1")}, ["a", "b"]),
    ],
)
def test_cancel_is_of_a_clip_as_it_is_asked_for(
    home: Any, ledger: Ledger, production: Producer, changed: dict[str, Any], made: list[str]
) -> None:
    """The row ``a`` names its model; the sandbox and a real provider make different clips, two accounts do not."""
    rows = [
        {"clip_id": "a", "prompt": "a fox", "model": "sora-2-pro"},
        {"clip_id": "b", "prompt": "an owl", "model": ""},
    ]
    production(rows)
    assert said("cancel", "--production", PROMPTS)["cancelled"][PROMPTS]["stopped"] == 2
    production(rows, **changed)
    assert sorted(ledger.clips.pending(3)) == keys(*made)
    production(rows)
    assert sorted(ledger.clips.pending(3)) == keys(*made), "asked for as it was cancelled, in another round"


def test_cancel_of_nothing_in_particular_is_refused(home: Any, ledger: Ledger) -> None:
    for command in ("cancel", "pause"):
        result = invoke(command)
        assert result.exit_code == 2
        assert "--production" in result.stderr


def test_cancelled_clips_are_retried_only_where_they_are_meant(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    fail(ledger, "a", "content_policy")
    invoke("cancel", "--production", PROMPTS)
    everything = invoke("retry")
    assert "submitted again, for 1.20 sandbox USD: prompts:a" in everything.stdout
    assert "of prompts, 1 clip was cancelled" in everything.stderr
    assert said("retry", "--kind", "cancelled")["submitted_again"] == keys("b")
    assert set(ledger.clips.pending(3)) == set(keys("a", "b"))


def test_failed_clip_that_is_cancelled_by_name_is_kept_out_of_retry(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="an owl", c="a bear"))
    fail(ledger, "a", "content_policy")
    fail(ledger, "b", "content_policy")
    whole = said("cancel", "--production", PROMPTS)["cancelled"][PROMPTS]
    assert (whole["stopped"], whole["failed"]) == (1, 0), (
        "of a whole production failed clips stay as they are"
    )
    result = invoke("cancel", "--clip", "a")
    assert "1 clip that had failed is cancelled; `sora-pipeline retry` leaves that alone" in result.stdout
    assert "nothing is left to be cancelled" in invoke("cancel", "--clip", "a").stdout
    assert said("retry", "--dry-run")["submitted_again"] == keys("b")
    assert said("retry", "--kind", "policy", "--dry-run")["submitted_again"] == keys("b")
    assert said("check", made.manifest_uri.reveal())["clips_cancelled"] == 2
    row = {each["clip_id"]: each for each in said("status")["clips"]}["a"]
    assert (row["status"], row["error_kind"]) == ("failed", "cancelled")
    assert row["error_message"].endswith("before that: it says so")
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    assert ledger.clips.pending(3) == [], "reading the manifest again changes nothing of it"
    assert said("retry", "--clip", "a")["submitted_again"] == keys("a")


def test_clip_that_has_no_attempt_left_is_cancelled_as_one_that_failed(
    home: Any, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    production(rows_of(a="a fox"))
    submit(ledger, "a")
    attempt_id = latest(ledger, "a").attempt_id
    assert ledger.attempts.fail(attempt_id, "overloaded", "it says so", retryable=True, reported=True)
    monkeypatch.setenv("SORA_MAX_ATTEMPTS", "1")
    done = said("cancel", "--clip", "a")["cancelled"][PROMPTS]
    assert (done["stopped"], done["failed"]) == (0, 1)
    assert said("retry")["cancelled"] == keys("a")


def test_clips_that_were_never_submitted_are_not_submitted_again(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    cancelled = invoke("cancel", "--production", PROMPTS).stdout
    assert "To have what was cancelled made after all: `sora-pipeline retry --production prompts" in cancelled
    would = invoke("retry", "--kind", "cancelled", "--dry-run").stdout
    assert would.startswith("would be submitted, for 2.40 sandbox USD: prompts:a, prompts:b")
    assert invoke("retry", "--kind", "cancelled").stdout.startswith("to be submitted, for 2.40 sandbox USD")
    fail(ledger, "a", "content_policy")
    assert invoke("retry", "--clip", "a").stdout.startswith(
        "to be submitted again, for 1.20 sandbox USD: prompts:a"
    )


def test_retry_by_kind_takes_a_part_of_its_name_and_says_which_there_are(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    for clip_id, kind in (("a", "content_policy"), ("b", "image"), ("c", "image_mismatch")):
        fail(ledger, clip_id, kind)
    unknown = invoke("retry", "--kind", "nonsense")
    assert "content_policy (1), image (1), image_mismatch (1)" in str(unknown.exception)
    assert "Did you mean content_policy?" in str(invoke("retry", "--kind", "content-polcy").exception)
    assert "Did you mean prompts?" in str(invoke("retry", "--production", "promts").exception)
    assert said("retry", "--kind", "policy", "--dry-run")["submitted_again"] == keys("a")
    assert said("retry", "--kind", "image")["submitted_again"] == keys("b"), "a name as it is comes first"


def test_dry_run_changes_nothing_and_says_the_price(home: Any, ledger: Ledger, production: Producer) -> None:
    production(rows_of(a="a fox", b="an owl"))
    fail(ledger, "a", "content_policy")
    result = invoke("retry", "--dry-run")
    assert "would be submitted again, for 1.20 sandbox USD" in result.stdout
    assert standing(ledger, "a").round == 1
    assert said("retry", "--dry-run")["usd"] == 1.2


@pytest.mark.parametrize("what", ["production", "account"])
def test_pause_holds_everything_until_resume(
    home: Any, ledger: Ledger, production: Producer, what: str
) -> None:
    production(rows_of(a="a fox"))
    name = {"production": PROMPTS, "account": "sandbox"}[what]
    assert "is paused" in invoke("pause", f"--{what}", name).stdout
    waits = invoke("status")
    assert f"`sora-pipeline resume --{what} {name}`" in waits.stderr
    assert said("status")["clips"][0]["error_kind"] == "paused"
    assert "submits go on" in invoke("resume", f"--{what}", name).stdout
    assert said("status")["productions"][0]["stopped"] is None
    assert "were not stopped" in invoke("resume").stdout


def test_pause_is_said_where_nothing_waits_for_it(home: Any, ledger: Ledger, production: Producer) -> None:
    production(rows_of(a="a fox"))
    fail(ledger, "a", "content_policy")
    assert "paused" not in invoke("status").output
    invoke("pause", "--production", PROMPTS, "--account", "sandbox")
    shown = invoke("status", "--no-clips")
    assert f"UTC; `sora-pipeline resume --production {PROMPTS}` lets it go on" in shown.stdout
    assert "the account sandbox is paused since" in shown.stderr
    assert "`sora-pipeline resume --account sandbox` lets submits go on" in shown.stderr
    assert "error:" not in shown.stderr
    invoke("resume", "--production", PROMPTS)
    production(rows_of(b="an owl"))
    assert invoke("status").stderr.count("the account sandbox is paused") == 1, "as what holds the clip"


def test_resume_of_everything_lifts_pauses_of_persons_and_breakers(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    invoke("pause", "--production", PROMPTS, "--account", "sandbox")
    ledger.breakers.open("sandbox", "bad_token", "HTTP 401")
    assert said("resume")["resumed"] == {"productions": [PROMPTS], "accounts": ["sandbox"]}
    assert ledger.paused.accounts() == {}


def test_pause_of_an_account_that_nobody_knows_names_those_there_are(home: Any, ledger: Ledger) -> None:
    result = invoke("pause", "--account", "sanbox")
    assert "there is sandbox." in str(result.exception)
    assert "Did you mean sandbox?" in str(result.exception)


def test_what_a_budget_holds_back_is_said_once_with_all_that_is_missing(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    ids = [f"clip-{number}" for number in range(12)]
    production([{"clip_id": clip_id, "prompt": "a fox"} for clip_id in ids], budget=Decimal("4.00"))
    submit(ledger, *ids[:3])
    result = invoke("status")
    assert result.output.count("the production's budget") == 1
    assert "10.40 sandbox USD more than the production's budget is needed for 9 clips" in result.stderr
    assert "3.60 of 4.00 sandbox USD is spent or reserved" in result.stderr
    assert "`sora-pipeline budget prompts 14.40`, or run it again with --budget 14.40" in result.stderr
    assert sum(line.rstrip().endswith("budget") for line in result.stdout.splitlines()) == 9
    assert "does not fit" in said("status")["clips"][-1]["error_message"]
    invoke("budget", PROMPTS, "14.40")
    assert "budget is needed" not in invoke("status").output


COMMANDS_THAT_NAME_AMOUNTS = (
    ("check", "{manifest}"),
    ("status",),
    ("budget", PROMPTS, "7"),
    ("costs",),
    ("retry", "--dry-run"),
)


@pytest.mark.parametrize("command", COMMANDS_THAT_NAME_AMOUNTS, ids=lambda command: command[0])
def test_sandbox_dollars_are_said_to_be_pretended(
    home: Any, ledger: Ledger, production: Producer, tmp_path: Path, command: tuple[str, ...]
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    submit(ledger, "b")
    fail(ledger, "a", "content_policy")
    result = invoke(*(word.format(manifest=tmp_path / "prompts.csv") for word in command))
    assert "sandbox USD" in result.stdout
    assert "sandbox USD are pretended" in result.stderr


@pytest.mark.parametrize("command", COMMANDS_THAT_NAME_AMOUNTS, ids=lambda command: command[0])
def test_dollars_of_a_real_provider_are_dollars(
    home: Any,
    ledger: Ledger,
    production: Producer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
) -> None:
    for name, value in (("PROVIDER", "gptproto"), ("API_KEY", "sk-1"), ("BASE_URL", "http://127.0.0.1:9")):
        monkeypatch.setenv(f"SORA_{name}", value)
    production(rows_of(a="a fox", b="an owl"))
    account = account_of(settings_of())
    submit(ledger, "b", account=account)
    fail(ledger, "a", "content_policy", account)
    result = invoke(*(word.format(manifest=tmp_path / "prompts.csv") for word in command))
    assert "USD" in result.stdout
    assert "sandbox" not in result.output


def test_budget_holds_from_now_on_and_none_lifts_it(home: Any, ledger: Ledger, production: Producer) -> None:
    production(rows_of(a="a fox", b="an owl"))
    submit(ledger, "a")
    said_now = invoke("budget", PROMPTS, "1")
    assert "may cost 1.00 sandbox USD now; 1.20 sandbox USD is spent" in said_now.stdout
    assert ledger.productions.get(PROMPTS).budget_usd == Decimal(1)
    assert "`sora-pipeline budget prompts 2.40`" in invoke("status").stderr
    assert said("budget", PROMPTS, "none")["budget_usd"] is None
    assert ledger.productions.get(PROMPTS).budget_usd is None
    assert invoke("budget", PROMPTS, "much").exit_code == 2


def test_check_names_apart_what_no_run_makes(home: Any, ledger: Ledger, production: Producer) -> None:
    made = production(rows_of(a="a fox", b="an owl", c="a bear"))
    fail(ledger, "a", "content_policy")
    fail(ledger, "b", "content_policy")
    invoke("cancel", "--production", PROMPTS)
    checked = ("check", made.manifest_uri.reveal())
    result = invoke(*checked)
    assert "; nothing of that is still to pay" in result.stdout
    assert "2 clips failed for good, and are left alone." in result.stdout
    assert f"retry --production {PROMPTS}` tries again what failed, for 2.40 sandbox USD" in result.stdout
    assert "1 clip was cancelled, and left so." in result.stdout
    facts = said(*checked)
    assert (facts["clips_to_pay"], facts["clips_failed"], facts["failed_usd"]) == (0, 2, 2.4)
    assert (facts["clips_cancelled"], facts["cancelled_usd"]) == (1, 1.2)
    invoke("retry")
    assert said(*checked)["still_to_pay_usd"] == 2.4


def test_retry_says_what_keeps_it_from_being_submitted(
    home: Any, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    fail(ledger, "a", "content_policy")
    invoke("pause", "--account", SANDBOX.name)
    result = invoke("retry", "--clip", "a", "--yes")
    assert "submitted again, for 1.20 sandbox USD" in result.stdout
    assert f"`sora-pipeline resume --account {SANDBOX.name}`" in result.stderr
