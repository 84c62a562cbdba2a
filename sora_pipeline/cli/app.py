"""Puts the commands together, and turns what a user can cause into one clear line and an exit code."""

import logging
import os
import signal
import sys
import types
from collections.abc import Sequence
from typing import Any

import typer
from sqlalchemy.exc import DBAPIError
from typer.core import TyperGroup

from sora_pipeline import __version__
from sora_pipeline.cli import adopt, check, costs, dev, doctor, ledger, models, retry, run, status
from sora_pipeline.cli.output import (
    BAD_INPUT,
    OK,
    in_words,
    print_json,
    printed_json,
    problem,
    problems,
    stdout,
)
from sora_pipeline.cli.terminal import visible
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.uris import is_unicode

SANDBOX = "sandbox"


class _Commands(TyperGroup):
    """The commands; the sandbox's has its settings for options, and is put together where somebody asks for it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), SANDBOX]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name != SANDBOX:
            return super().get_command(ctx, cmd_name)
        from sora_pipeline.cli.sandbox import command

        return command(SANDBOX)


app = typer.Typer(
    cls=_Commands,
    name="sora-pipeline",
    help="Batch video production for Dagster: a manifest of prompts in, checked videos and a manifest of videos out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(check.check)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("retry")(retry.retry)
app.command("resume")(retry.resume)
app.command("costs")(costs.costs)
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.command("dev")(dev.dev)
app.command("adopt")(adopt.adopt)
app.add_typer(ledger.app, name="ledger")


@app.callback(invoke_without_command=True)
def _common(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        typer.echo(f"sora-pipeline {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry of the console script."""
    # Dagster and its friends explain themselves in the runs' logs; here they would tear the progress display.
    logging.disable(logging.WARNING)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # of nohup
            signal.signal(number, _interrupt)
    code = _exit_code(sys.argv[1:])
    if "--json" in sys.argv[1:] and not printed_json:
        print_json({"exit_code": code, "error": "\n".join(problems) or "standard error says what is wrong"})
    if stdout.trouble:
        problem(f"not everything could be written to standard output: {stdout.trouble}")
    sys.exit(code)


def _exit_code(arguments: Sequence[str]) -> int:
    """Do what is asked for, and say in one sentence what a user can cause and mend; all else is a bug and keeps its traceback."""
    for argument in arguments:
        if not is_unicode(argument):
            problem(f"{visible(argument)} holds bytes that are no UTF-8 text; rename what it names")
            return BAD_INPUT
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    except (SoraPipelineError, DBAPIError) as error:
        problem(in_words(error))
        return BAD_INPUT
    return OK


def _interrupt(_number: int, _frame: types.FrameType | None) -> None:
    """A polite kill, or a terminal that is closed, is like Ctrl-C: our daemon is stopped in order."""
    raise KeyboardInterrupt
