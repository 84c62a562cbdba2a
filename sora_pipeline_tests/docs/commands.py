"""Command lines as pages show them, and whether the real command line knows what they name."""

import re
import shlex
from typing import Any

from typer.main import get_command

from sora_pipeline.cli.app import app

PROGRAM = "sora-pipeline"
_CONTINUED = re.compile(r"\\\n\s*")


def lines_of(text: str) -> list[str]:
    """The commands of a block: where lines begin with ``$``, these; else each line."""
    lines = [line.strip() for line in _CONTINUED.sub("", text).splitlines()]
    typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return typed or [line for line in lines if line and not line.startswith("#")]


def expected_output(text: str) -> str:
    """What a block with ``$`` shows between its commands."""
    lines = text.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return ""
    return "\n".join(line for line in lines if not line.startswith("$ ")).strip()


def unknown_in(line: str) -> list[str]:
    """What a line says to our program that it does not know: commands and options."""
    words = shlex.split(line.replace("…", ""), comments=True)
    unknown: list[str] = []
    for place, word in enumerate(words):
        if word.rpartition("/")[2] == PROGRAM and not _is_argument(words[:place]):
            unknown += _unknown_to_it(_until_the_next(words[place + 1 :]))
    return unknown


def _is_argument(before: list[str]) -> bool:
    """Whether the program's name is what another command is asked to install."""
    return bool(before) and before[-1] in ("install", "--from")


def _until_the_next(words: list[str]) -> list[str]:
    ends = [place for place, word in enumerate(words) if word in ("&&", "|", "||", ";", "&")]
    return words[: ends[0]] if ends else words


def _unknown_to_it(words: list[str]) -> list[str]:
    command: Any = get_command(app)
    context = command.context_class(command, info_name=PROGRAM)
    words = list(words)
    while hasattr(command, "get_command") and words and not words[0].startswith("-"):
        name = words.pop(0)
        if (found := command.get_command(context, name)) is None:
            return [name]
        command, context = found, found.context_class(found, info_name=name, parent=context)
    known = {option for each in command.get_params(context) for option in each.opts + each.secondary_opts}
    options = [word.partition("=")[0] for word in words if word.startswith("-")]
    return [option for option in options if option not in known]
