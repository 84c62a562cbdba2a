"""``--json``: what every command prints is what its schema says, on every outcome."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sora_pipeline.cli.app import app
from sora_pipeline.cli.json_schemas import SCHEMAS, json_schema
from sora_pipeline.ledger import Ledger
from sora_pipeline_tests.cli.test_commands import in_a_process, invoke, submit
from sora_pipeline_tests.conftest import PROMPTS, Producer, rows_of, write_manifest

WITHOUT_JSON = {"dev", "media", "metrics", "sandbox", "schema"}


def commands() -> set[str]:
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    nested = {
        f"{name} {each.name or each.callback.__name__}"
        for name, group in groups.items()
        for each in group.registered_commands
    }  # type: ignore[union-attr]
    return {each.name for each in app.registered_commands} | nested  # type: ignore[misc]


def test_every_command_has_a_schema() -> None:
    assert commands() - WITHOUT_JSON == set(SCHEMAS)


@pytest.mark.parametrize("command", sorted(SCHEMAS))
def test_schema_is_one_and_is_printed(command: str) -> None:
    printed = json.loads(invoke("schema", *command.split()).stdout)
    Draft202012Validator.check_schema(printed)
    assert printed == json_schema(command)


def test_schema_of_what_prints_none(home: Path) -> None:
    result = invoke("schema", "dev")
    assert result.exit_code == 2
    assert "status" in result.stderr


def test_rows_that_cannot_be_made_have_the_number_that_a_spreadsheet_shows(
    home: Path, production: Producer, tmp_path: Path
) -> None:
    rows = [{"prompt": "a fox", "duration": "4"}, {"prompt": "", "duration": "4"}]
    production(rows)
    (bad,) = (each for each in require("status", invoke("status", "--json").stdout)["clips"] if "row" in each)
    assert (bad["clip_id"], bad["row"], bad["row_number"], bad["place"]) == (None, 3, 2, "row 3")
    (problem,) = require("check", invoke("check", str(tmp_path / "prompts.csv"), "--json").stdout)["problems"]
    assert (problem["clip_id"], problem["row"], problem["row_number"], problem["place"]) == (
        None,
        3,
        2,
        "row 3",
    )
    assert any(line.split()[:3] == ["row", "3", "invalid"] for line in invoke("status").stdout.splitlines())


def test_resume_says_whether_anything_was_stopped(home: Path, production: Producer) -> None:
    production(rows_of(a="a fox"))
    nothing = {"submits_were_stopped": False, "resumed": {"productions": [], "accounts": []}}
    assert require("resume", invoke("resume", "--json").stdout) == nothing
    assert "submits were not stopped; nothing was changed" in invoke("resume").stdout
    invoke("pause", "--production", PROMPTS)
    said = require("resume", invoke("resume", "--production", PROMPTS, "--json").stdout)
    assert said == {"submits_were_stopped": True, "resumed": {"productions": [PROMPTS], "accounts": []}}


def require(command: str, printed: str) -> Any:
    said = json.loads(printed)
    Draft202012Validator(json_schema(command)).validate(said)
    return said


def test_what_is_printed_is_what_the_schema_says(
    home: Path, ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    manifest = write_manifest(tmp_path / "more.csv", [*rows_of(a="a fox"), {"prompt": "", "clip_id": "b"}])
    require("status", invoke("status", "--json").stdout)
    require("check", invoke("check", str(manifest), "--json").stdout)
    production(rows_of(a="a fox", b="an owl"))
    submit(ledger, "a")
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403")
    for command in (
        "status",
        f"pause --production {PROMPTS} --account sandbox",
        "watch",
        "resume",
        f"budget {PROMPTS} 5",
        f"cancel --production {PROMPTS}",
        "retry --clip nobody",
        "retry --kind cancelled",
        "costs",
        "models",
        "doctor",
    ):
        name, *arguments = command.split()
        require(name, invoke(name, *arguments, "--json").stdout)


@pytest.mark.parametrize(
    "command",
    [
        "check nowhere.csv",
        "run nowhere.csv",
        "budget nobody 5",
        "gallery",
        "adopt nowhere",
        "pause",
        "costs --by nonsense --production x",
    ],
)
def test_what_goes_wrong_is_said_as_json_too(home: Path, command: str) -> None:
    name, *arguments = command.split()
    result = in_a_process(name, *arguments, "--json")
    said = require(name, result.stdout)
    assert said["exit_code"] == result.returncode == 2
    assert said["error"]
