"""The files of ``deploy/``, as tests read them."""

import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def procfile() -> dict[str, list[str]]:
    """The processes of ``deploy/celery/Procfile``: each one's command by its name."""
    lines = (DEPLOY / "celery" / "Procfile").read_text().splitlines()
    return {name: shlex.split(command) for name, _, command in (line.partition(": ") for line in lines)}


def read_yaml(relative: str) -> Any:
    return yaml.safe_load((DEPLOY / relative).read_text())
