"""What else a run submits than its file says, said before it costs: other clips of the production, and other productions."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from sora_pipeline.admission.limits import account_of, limits_of
from sora_pipeline.ledger import Ledger
from sora_pipeline.production.intake import open_production
from sora_pipeline.production.naming import ProductionRequest
from sora_pipeline_tests.cli.test_commands import invoke
from sora_pipeline_tests.conftest import PROMPTS, Producer, key, rows_of, settings_of, write_manifest

MENDED = {"production": PROMPTS, "error_message": "it is wrong"}


@pytest.fixture
def pending(production: Producer) -> None:
    production(rows_of(a="a fox", b="an owl", c="a cat"), budget=Decimal("1.30"))


def reserve_one(ledger: Ledger) -> None:
    settings = settings_of()
    ledger.attempts.reserve(
        {key("a"): 1_200_000},
        account=account_of(settings),
        batch_id="a-batch",
        limits=limits_of(settings),
        lease_s=100,
    )


def checked(path: Path) -> str:
    result = invoke("check", str(path))
    return result.stdout + result.stderr


def test_mended_rows_are_priced_with_the_clips_that_are_submitted_beside_them(
    home: Path, pending: None, tmp_path: Path
) -> None:
    mended = write_manifest(
        tmp_path / "mended.csv", [{**MENDED, "clip_id": "c", "prompt": "a cat in the snow"}]
    )
    said = checked(mended)
    assert "1.20 sandbox USD of that is still to pay (1 clip)" in said
    assert (
        "beside these, 2 other clips of prompts are pending, and submitted as well: 2.40 sandbox USD" in said
    )
    assert "0 of 1 clip to pay fits the budget" in said
    figures = json.loads(invoke("check", str(mended), "--json").stdout)
    assert (figures["other_clips_to_pay"], figures["other_clips_usd"], figures["clips_within_budget"]) == (
        2,
        2.4,
        0,
    )
    invoke("pause", "--production", PROMPTS)
    assert "submitted as well once the production is resumed" in checked(mended)


def test_a_clip_whose_mended_row_cannot_be_used_is_not_made_as_it_was(
    home: Path, ledger: Ledger, production: Producer, pending: None, tmp_path: Path
) -> None:
    rows = [
        {**MENDED, "clip_id": "b", "prompt": "an owl in the snow", "duration": "4"},
        {**MENDED, "clip_id": "c", "prompt": "a cat in the snow", "duration": "5"},
    ]
    mended = write_manifest(tmp_path / "mended.csv", rows)
    said = checked(mended)
    assert "1 clip is cancelled" in said
    assert "1 other clip of prompts is pending" in said, "that is a"
    assert json.loads(invoke("check", str(mended), "--json").stdout)["cancelled_by_unusable_rows"] == [
        key("c")
    ]
    production.read(mended)
    assert ledger.clips.pending(3, PROMPTS) == [key("a"), key("b")]
    rows[1]["duration"] = "4"
    production.read(write_manifest(mended, rows))
    assert ledger.clips.pending(3, PROMPTS) == [key("a"), key("b"), key("c")]


def test_other_productions_that_go_on_are_named_with_their_price_and_a_paused_one_is_not(
    home: Path, pending: None, production: Producer, tmp_path: Path
) -> None:
    production(rows_of(x="a car"), name="winter", file="winter.csv")
    cheap = write_manifest(tmp_path / "cheap.csv", rows_of(y="a bus"))
    said = checked(cheap)
    assert (
        "prompts (3 clips, 1.30 at most by its budget), winter (1 clip, 1.20), 2.50 sandbox USD in all"
        in said
    )
    assert "a run goes on with other productions as well" in said
    figures = json.loads(invoke("check", str(cheap), "--json").stdout)
    assert figures["other_productions"] == [
        {"production": "prompts", "clips": 3, "usd": 1.3, "unread": False},
        {"production": "winter", "clips": 1, "usd": 1.2, "unread": False},
    ]
    invoke("budget", PROMPTS, "4")
    assert "prompts (3 clips, 3.60), winter (1 clip, 1.20), 4.80 sandbox USD in all" in checked(cheap)
    invoke("pause", "--production", PROMPTS)
    invoke("cancel", "--production", "winter")
    assert "goes on with other productions" not in checked(cheap)


def test_what_is_reserved_is_not_said_to_be_paid(
    home: Path, ledger: Ledger, pending: None, tmp_path: Path
) -> None:
    reserve_one(ledger)
    assert ", and 1.20 sandbox USD is reserved, and billed once it is sent" in checked(
        tmp_path / "prompts.csv"
    )
    cheap = write_manifest(tmp_path / "cheap.csv", rows_of(y="a bus"))
    assert "prompts (1 clip, 1.20)" in checked(cheap), "no money is left for the others"


def test_what_a_trial_in_the_sandbox_cost_is_no_part_of_a_real_budget(
    home: Path, ledger: Ledger, pending: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve_one(ledger)
    invoke("budget", PROMPTS, "4")
    manifest = tmp_path / "prompts.csv"
    assert "budget: 1.20 of 4.00 sandbox USD spent or reserved" in checked(manifest)
    monkeypatch.setenv("SORA_PROVIDER", "gptproto")
    monkeypatch.setenv("SORA_API_KEY", "a-key")
    said = checked(manifest)
    assert "budget: 0.00 of 4.00 USD spent or reserved" in said
    assert "fit the budget" not in said
    figures = json.loads(invoke("check", str(manifest), "--json").stdout)
    assert (figures["simulated"], figures["committed_usd"]) == (False, 0.0)


def test_budget_says_what_it_has_no_room_for(home: Path, pending: None) -> None:
    said = invoke("budget", PROMPTS, "2")
    assert "3 clips are pending, 3.60 sandbox USD; a running daemon goes on with it by itself" in said.stdout
    assert "2.00 sandbox USD is left of the budget of prompts, and its pending clips cost 3.60" in said.stderr
    assert "`sora-pipeline budget prompts 3.60` has room for all" in said.stderr
    assert "left of the budget" not in invoke("budget", PROMPTS, "3.60").stderr


def test_manifest_of_two_productions_is_run_by_name(home: Path, production: Producer, tmp_path: Path) -> None:
    for name in ("spring", "autumn"):
        production(rows_of(a=f"a fox in {name}"), name=name)
    said = invoke("budget", "spring", "50").stdout
    assert f"`sora-pipeline run {tmp_path / 'prompts.csv'} --name spring` does" in said


def test_a_manifest_that_was_asked_for_and_not_read_is_named(
    home: Path, ledger: Ledger, tmp_path: Path
) -> None:
    """The next daemon reads it, and pays for all that is in it."""
    asked_for = write_manifest(tmp_path / "big.csv", rows_of(x="a car", y="a bus"))
    intake = open_production(ledger, settings_of(), "", ProductionRequest(manifest=str(asked_for)))
    ledger.productions.request(intake.decided.plan, str(asked_for))
    other = write_manifest(tmp_path / "small.csv", rows_of(z="a tram"))
    assert "big (its manifest is still to be read)" in checked(other)
    (named,) = json.loads(invoke("check", str(other), "--json").stdout)["other_productions"]
    assert (named["production"], named["clips"], named["unread"]) == ("big", 0, True)
    assert "big" not in checked(asked_for).replace(str(asked_for.parent), "").partition("which were asked")[2]
    ledger.paused.pause_production("big")
    assert json.loads(invoke("check", str(other), "--json").stdout)["other_productions"] == []


def test_of_an_unusable_mended_row_no_take_is_made_as_it_was_and_nothing_that_is_reserved(
    home: Path, ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    settings = settings_of()
    production([{"clip_id": "c", "prompt": "a cat", "takes": "3"}, {"clip_id": "d", "prompt": "a dog"}])
    made = ledger.attempts.reserve(
        {key("d"): 1_200_000},
        account=account_of(settings),
        batch_id="b",
        limits=limits_of(settings),
        lease_s=90,
    )
    rows = [
        {**MENDED, "clip_id": "c", "prompt": "a cat in the snow", "duration": "5", "takes": "3"},
        {**MENDED, "clip_id": "d", "prompt": "a dog in the snow", "duration": "5"},
    ]
    production.read(write_manifest(tmp_path / "mended.csv", rows))
    assert all(each.cancelled for each in ledger.clips.standings_of(PROMPTS).values())
    (attempt,) = made.reserved
    assert not ledger.attempts.begin_submit(attempt.attempt_id, "run", lease_s=60, request_summary={})
