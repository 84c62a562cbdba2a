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

from sora_pipeline import __version__
from sora_pipeline.cli import (
    adopt,
    budget,
    cancel,
    check,
    costs,
    demo,
    dev,
    doctor,
    export,
    gallery,
    init,
    ledger,
    media,
    metrics,
    models,
    pause,
    retry,
    run,
    schema,
    status,
    watch,
)
from sora_pipeline.cli.dotenv import read_dotenv
from sora_pipeline.cli.help import Commands, markup_mode
from sora_pipeline.cli.output import (
    BAD_INPUT,
    OK,
    SOME_FAILED,
    in_words,
    note,
    print_json,
    printed_json,
    problem,
    problems,
    stdout,
)
from sora_pipeline.cli.terminal import columns_are_known, visible
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.uris import is_unicode

SANDBOX = "sandbox"
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What typer raises for a call that it does not understand; it has no public name for that."""


class _Commands(Commands):
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
    pretty_exceptions_enable=False,
)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("retry")(retry.retry)
app.command("cancel")(cancel.cancel)
app.command("pause")(pause.pause)
app.command("resume")(pause.resume)
app.command("budget")(budget.budget)
app.command("costs")(costs.costs)
app.command("schema")(schema.schema)
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.command("metrics")(metrics.metrics)
app.command("dev")(dev.dev)
app.command("demo")(demo.demo)
app.command("watch")(watch.watch)
app.command("gallery")(gallery.gallery)
app.command("export")(export.export)
app.command("media")(media.media)
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
    # Ctrl-C that meets a connection being closed is no error of the database's; it would be shown as a stack.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # of nohup
            signal.signal(number, _interrupt)
    if not columns_are_known():  # typer asks for it as well
        os.environ.pop("COLUMNS", None)
    app.rich_markup_mode = ledger.app.rich_markup_mode = markup_mode()
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
        read_dotenv()
        ended = app(standalone_mode=False)
        return ended if isinstance(ended, int) else OK
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else OK
    except typer.Abort:
        note("stopped")
        return SOME_FAILED
    except _UsageError as error:
        _say_how_it_is_called(error)
        return BAD_INPUT
    except (SoraPipelineError, DBAPIError) as error:
        problem(in_words(error))
        return BAD_INPUT


def _say_how_it_is_called(error: Any) -> None:
    """What is wrong with the options and arguments, in the words of every other error."""
    if error.ctx is not None and type(error).__name__ == "NoArgsIsHelpError":
        if error.message:  # with frames, typer has written the help already
            error.show()
        return
    hint = error.param_hint if type(error) is typer.BadParameter else None
    if isinstance(hint, str):
        problem(f"{hint}: {error.message}")
        return
    problem(error.format_message())
    if error.ctx is not None:
        note(f"`{error.ctx.command_path} --help` says how it is called")


def _interrupt(_number: int, _frame: types.FrameType | None) -> None:
    """A polite kill, or a terminal that is closed, is like Ctrl-C: our daemon is stopped in order."""
    raise KeyboardInterrupt
