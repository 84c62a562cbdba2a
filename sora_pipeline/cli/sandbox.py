"""``sora-pipeline sandbox``: the provider emulator; its options are the fields of its settings."""

import inspect
import os
from typing import Any

import typer
from pydantic import ValidationError

from sora_pipeline.cli.help import markup_mode
from sora_pipeline.cli.output import BAD_INPUT, problem
from sora_pipeline.sandbox.faults import FAULTS
from sora_pipeline.sandbox.settings import ENVIRONMENT_PREFIX, SandboxSettings

HELP = (
    "Serve the provider emulator: real HTTP, real MP4, no cost.\n\n"
    "A prompt asks for a fault by holding its marker:\n\n"
    + "\n\n".join(f"{fault.marker}  {fault.does}" for fault in FAULTS.values())
)


def command(name: str) -> Any:
    """The command, with one option for each setting."""

    def sandbox(**given: str | None) -> None:
        _serve(given)

    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=str | None,
            default=typer.Option(
                None,
                f"--{name.replace('_', '-')}",
                metavar="VALUE",
                help=_shown(f"{field.description} [{ENVIRONMENT_PREFIX}{name.upper()}]"),
                show_default=False,
            ),
        )
        for name, field in SandboxSettings.model_fields.items()
    ]
    sandbox.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    sandbox.__annotations__ = {option.name: option.annotation for option in options}
    alone = typer.Typer(add_completion=False, rich_markup_mode=markup_mode())
    alone.command(name, help=_shown(HELP))(sandbox)
    return typer.main.get_command(alone)


def _shown(text: str) -> str:
    """A text of the help; rich would read brackets as styles."""
    return text if markup_mode() is None else text.replace("[", "\\[")


def _serve(given: dict[str, str | None]) -> None:
    from sora_pipeline.sandbox.server import serve

    from_options = {
        f"{ENVIRONMENT_PREFIX}{name.upper()}": text for name, text in given.items() if text is not None
    }
    environment: dict[str, Any] = {**os.environ, **from_options}
    try:
        serve(SandboxSettings.from_environment(environment))
    except ValidationError as error:
        for detail in error.errors():
            problem(f"{ENVIRONMENT_PREFIX}{str(detail['loc'][0]).upper()}={detail['input']}: {detail['msg']}")
        raise typer.Exit(BAD_INPUT) from None
    except (ValueError, OSError) as error:
        problem(str(error))
        raise typer.Exit(BAD_INPUT) from None
