"""``sora-pipeline schema``: what ``--json`` prints, as JSON Schema."""

import typer

from sora_pipeline.cli.json_schemas import SCHEMAS, json_schema
from sora_pipeline.cli.output import print_json


def schema(
    command: list[str] = typer.Argument(metavar="COMMAND", help="For example: status, or ledger rebuild."),
) -> None:
    """Print the JSON Schema of what a command prints with --json."""
    name = " ".join(command)
    if name not in SCHEMAS:
        raise typer.BadParameter(
            f"{name} prints no JSON; these do: {', '.join(SCHEMAS)}", param_hint="COMMAND"
        )
    print_json(json_schema(name))
