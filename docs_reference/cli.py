"""Every command with its arguments and options, as typer describes them."""

import re
from typing import Any

from typer.cli import get_docs_for_click
from typer.main import get_command

from sora_pipeline.cli.app import app

NAME = "sora-pipeline"
_LISTED = re.compile(r"^\* `([a-z][a-z-]*)`: .*$", re.MULTILINE)
"""A command in a list of commands."""
EXIT_CODES = """
## Exit codes

| code | of `run`, and of what runs it | of the others |
|---|---|---|
| 0 | all clips delivered | done |
| 1 | some clips failed, each listed with its reason | something was left undone, which is said: a file in the way of `export` |
| 2 | bad input or configuration, nothing submitted | the same |
| 3 | stopped early: budget, key, balance, timeout, Ctrl-C | stopped, or a question was answered with no |

## Lines

On a terminal lines are broken at spaces, and where a table does not fit each of its rows is some lines of its own. In a pipe or a file no line is broken, unless `COLUMNS` says how
wide one may be. Nothing is cut.
"""


def page() -> str:
    """The page."""
    command: Any = get_command(app)
    context = command.context_class(command, info_name=NAME)
    text = get_docs_for_click(obj=command, ctx=context, name=NAME, title="Commands")
    whole = {
        name: _first_sentence(command.get_command(context, name)) for name in command.list_commands(context)
    }
    listed = _LISTED.sub(
        lambda found: f"* [`{found[1]}`](#sora-pipeline-{found[1]}): {whole[found[1]]}", text, len(whole)
    )
    # Blocks show how a command is called, which nobody types as it stands.
    return listed.replace("```console", "```text") + EXIT_CODES


def _first_sentence(command: Any) -> str:
    """What a command is for; typer's own list cuts it off."""
    return re.split(r"(?<=\.)\s", (command.help or "").strip(), maxsplit=1)[0]
