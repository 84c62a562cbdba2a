"""``--production NAME``: which productions a command is about."""

from typing import TYPE_CHECKING, Any

import typer

from sora_pipeline.errors import SoraPipelineError

if TYPE_CHECKING:
    from sora_pipeline.ledger import Ledger, Production

PRODUCTION: Any = typer.Option(
    [], "--production", metavar="NAME", help="Only this production's; may be given often. Default: all."
)


class UnknownProductionError(SoraPipelineError):
    """Raised where a command names a production that the ledger does not have."""


def selected(ledger: "Ledger", names: list[str]) -> "list[Production]":
    """The productions of these names, or all of them; the one read last first.

    Raises:
        UnknownProductionError: there is none of a name; the text lists those that there are.
    """
    everything = ledger.productions.all()
    known = [production.production_id for production in everything]
    for name in names:
        if name not in known:
            raise UnknownProductionError(
                f"--production {name}: there is no production of this name; there are {', '.join(sorted(known)) or 'none'}"
            )
    return [production for production in everything if not names or production.production_id in names]
