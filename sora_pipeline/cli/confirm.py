"""Asks a person at a terminal before something costs money; nobody else is asked, for nobody would answer."""

import contextlib
import sys
from typing import Any

import typer

from sora_pipeline.cli.output import BAD_INPUT, STOPPED, errors, note, problem

YES: Any = typer.Option(
    False,
    "--yes",
    "-y",
    help="Do not ask. Without a terminal nobody is asked: what has failed is submitted, and what is delivered is made anew only with this.",
)


def require_consent(what: str, *, yes: bool, unasked: bool) -> None:
    """Go on only where a person agrees.

    Args:
        what: What would be done, and its price.
        yes: Whether that was agreed to beforehand.
        unasked: Whether to go on where there is no terminal to ask at.

    Raises:
        typer.Exit: nobody has agreed; nothing was changed.
    """
    if yes:
        return
    if errors.is_terminal and sys.stdin.isatty():
        errors.print(f"{what}.")
        agreed = False
        with contextlib.suppress(typer.Abort):
            agreed = typer.confirm("Go on?", err=True)
        if not agreed:
            note("nothing was changed")
            raise typer.Exit(STOPPED)
    elif not unasked:
        problem(f"{what}. Nothing was changed; say --yes to agree to that")
        raise typer.Exit(BAD_INPUT)
