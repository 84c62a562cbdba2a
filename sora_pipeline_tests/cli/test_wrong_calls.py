"""A call that cannot be understood, or names what is not there: what is wrong with it is said, on every stream, and what to do."""

import json
import os
from pathlib import Path

import pytest

from sora_pipeline_tests.cli.test_commands import in_a_process, invoke
from sora_pipeline_tests.conftest import PROMPTS, Producer, rows_of


@pytest.fixture
def postgres_url() -> None:
    """No database: how a wrong call is answered is none of its business."""


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("cancel", "--production / --clip: say what is to be cancelled"),
        ("costs --csv {folder}/nope/costs.csv", "there is no folder {folder}/nope. Name a file in a folder"),
        ("costs --csv {folder}", "--csv: {folder} cannot be written: it is a folder"),
        (
            "ledger backup {folder}/nope/b.db",
            "there is no folder {folder}/nope. Name a file in one that is there",
        ),
        ("budget x lots", "USD: 'lots' is not an amount"),
        ("run", "Missing argument"),
        ("run a.csv --bugdet 5", "No such option: --bugdet"),
        ("nonsense", "No such command 'nonsense'"),
    ],
)
def test_json_says_itself_what_is_wrong(
    home: Path, tmp_path: Path, production: Producer, call: str, said: str
) -> None:
    production(rows_of(x="a fox"), name="x")
    result = in_a_process(*call.format(folder=tmp_path).split(), "--json")
    assert result.returncode == 2
    failure = json.loads(result.stdout)
    assert failure["exit_code"] == 2
    assert said.format(folder=tmp_path) in failure["error"]
    assert failure["error"] in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_named(home: Path, tmp_path: Path) -> None:
    tmp_path.joinpath("locked").mkdir(mode=0o500)
    failure = json.loads(
        in_a_process("costs", "--json", "--csv", str(tmp_path / "locked" / "costs.csv")).stdout
    )
    assert f"{tmp_path}/locked/costs.csv cannot be written: this user may not" in failure["error"]


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        ("budget nope 5", "NAME"),
        ("gallery nope", "NAME"),
        ("watch nope", "NAME"),
        ("status --production nope", "--production"),
    ],
)
def test_production_that_is_not_there(home: Path, production: Producer, call: str, hint: str) -> None:
    said = str(invoke(*call.split()).exception)
    assert said.startswith(f"{hint} nope: there is no production so far; `sora-pipeline run MANIFEST` makes")
    unknown = f"{hint} nope: there is no production of this name; "
    production(rows_of(a="a fox"))
    assert str(invoke(*call.split()).exception) == f"{unknown}there is {PROMPTS}."
    production(rows_of(a="an owl"), file="winter.csv")
    assert str(invoke(*call.split()).exception) == f"{unknown}there are {PROMPTS}, winter."


def test_a_call_of_nothing_is_answered_by_the_help_alone(home: Path) -> None:
    result = in_a_process()
    assert result.returncode == 2
    assert "Usage: " in result.stdout
    assert result.stderr == ""
