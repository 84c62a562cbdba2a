"""README, CONTRIBUTING, SECURITY and the issue forms lead where they say."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from sora_pipeline_tests.docs.blocks import ROOT

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_PATH = re.compile(r"`([a-z_]+/[a-z_/]*|[a-z_/]+\.(?:py|toml))`")


def test_readme_is_short_and_shows_the_result_first() -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert len(lines) < 120
    pictures = [number for number, line in enumerate(lines) if line.startswith("![")]
    assert pictures[0] < lines.index("## Two commands, no key, no cost") < lines.index("## Install")


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "data/README.md"]
)
def test_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    targets = [target for target in _LINK.findall(page.read_text("utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_room_of_the_map_is_there_and_no_room_is_missing() -> None:
    lines = (ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()
    named = [path for line in lines if line.startswith("| ") for path in _PATH.findall(line)]
    package = ROOT / "sora_pipeline"
    places = [
        path for path in named if not any((at / path).exists() for at in (ROOT, package, *package.iterdir()))
    ]
    assert places == []
    rooms = {path.parent.name for path in package.glob("*/__init__.py")} - {"components", "notifications"}
    assert {room for room in rooms if f"sora_pipeline/{room}/" not in named} == set()


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_issue_form_is_one(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    assert form["name"]
    assert form["description"]
    fields = [each for each in form["body"] if each["type"] != "markdown"]
    assert len({each["id"] for each in fields}) == len(fields) > 0
    assert all(each["type"] in ("textarea", "input") and each["attributes"]["label"] for each in fields)


@pytest.mark.parametrize(
    ("activated", "command"), [(False, ".venv/bin/sora-pipeline"), (True, "sora-pipeline")]
)
def test_demo_ends_with_what_comes_next_as_it_works_there(
    tmp_path: Path, activated: bool, command: str
) -> None:
    """The Makefile's own lines, with a program in the place of ours that says what it was called with."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text("utf-8"))
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    (programs / "sora-pipeline").write_text('#!/bin/sh\necho "called with $*"\n')
    (programs / "sora-pipeline").chmod(0o755)
    (tmp_path / ".venv" / ".ready").touch()
    environment = {"PATH": f"{programs}:/usr/bin:/bin" if activated else "/usr/bin:/bin"}
    made = subprocess.run(
        ["make", "-s", "demo"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert made.stdout.splitlines()[0] == "called with run data/manifest.csv"
    next_lines = [line.partition(" #")[0].strip() for line in made.stdout.splitlines()[-2:]]
    assert next_lines == [f"{command} check data/manifest.csv", f"{command} dev"]
    for line in next_lines:
        said = subprocess.run(
            line, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert said.stdout.startswith("called with ")
