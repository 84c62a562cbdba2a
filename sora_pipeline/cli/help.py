"""How the help is written: in typer's frames, or without where a terminal is so narrow that they would cut names."""

from typing import Any, Literal

from typer.core import TyperGroup

from sora_pipeline.cli.output import console

_NARROWEST_FRAMES = 80
"""Cells of a line; of fewer the frames leave so few that names of options and variables are cut."""


def markup_mode() -> Literal["rich"] | None:
    """What typer is to write the help with."""
    return "rich" if console.width >= _NARROWEST_FRAMES else None


class Commands(TyperGroup):
    """Commands whose help says of each the whole sentence, without frames as well."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command is for."""
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, " ".join((command.help or "").partition("\n\n")[0].split()))
                    for name, command in commands.items()
                    if command is not None
                ]
            )
