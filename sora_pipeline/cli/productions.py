"""``--production NAME``: which productions a command is about."""

import shlex
from typing import TYPE_CHECKING, Any

import typer

from sora_pipeline.amounts import listed
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.suggestions import did_you_mean

if TYPE_CHECKING:
    from sora_pipeline.ledger import Ledger, Production


def completed(incomplete: str) -> list[str]:
    """Names of productions that begin so, for shells; nothing is made that is not there."""
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.settings import Settings, dagster_home, ledger_file, ledger_url

    settings, home = Settings.from_env(), dagster_home()
    if settings.ledger_url is None and not ledger_file(home).exists():
        return []
    productions = Ledger(ledger_url(settings, home)).productions.all()
    return [each.production_id for each in productions if each.production_id.startswith(incomplete)]


PRODUCTION: Any = typer.Option(
    [],
    "--production",
    metavar="NAME",
    help="Only this production's; may be given more than once. Default: all.",
    autocompletion=completed,
)
NAMED: Any = typer.Option(
    [],
    "--production",
    metavar="NAME",
    help="A production; may be given more than once.",
    autocompletion=completed,
)


def goes_on(ledger: "Ledger", production: "Production") -> str:
    """What makes a production's pending clips, for the end of a sentence."""
    uri = production.manifest_uri
    # One manifest may make several productions.
    alone = len(ledger.productions.of_manifest(uri, production.pipeline)) < 2
    name = "" if alone else f" --name {production.production_id}"
    # Without its signature an address cannot be run.
    command = (
        "`sora-pipeline run` of its manifest"
        if uri.has_secret
        else f"`sora-pipeline run {shlex.quote(uri.shown)}{name}`"
    )
    return f"a running daemon goes on with it by itself; without one, {command} does"


ALSO_NAMED: Any = typer.Option(
    "", "--production", metavar="NAME", help="The same as NAME.", autocompletion=completed
)


def one_of(ledger: "Ledger", name: str, also_named: str) -> "Production | None":
    """The production of this name, given as an argument or as an option; where none is given, the one read last.

    Returns:
        None where nothing was produced so far.

    Raises:
        typer.BadParameter: both are given, and differ.
        UnknownProductionError: there is none of that name.
    """
    if name and also_named and name != also_named:
        raise typer.BadParameter("name one production", param_hint="NAME / --production")
    chosen = name or also_named
    productions = selected(ledger, [chosen] if chosen else [], said_as="NAME" if name else "--production")
    return productions[0] if productions else None


class UnknownProductionError(SoraPipelineError):
    """Raised where a command names a production that the ledger does not have."""


def selected(ledger: "Ledger", names: list[str], *, said_as: str = "--production") -> "list[Production]":
    """The productions of these names, or all of them; the one read last first.

    Args:
        ledger: The ledger.
        names: Of productions; empty: all.
        said_as: The option or the argument that the names were given as.

    Raises:
        UnknownProductionError: there is none of a name; the text lists those that there are.
    """
    everything = ledger.productions.all()
    known = [production.production_id for production in everything]
    for name in names:
        if name not in known:
            raise UnknownProductionError(
                f"{said_as} {name}: {_those_there_are(known)}.{did_you_mean(name, known)}"
            )
    return [production for production in everything if not names or production.production_id in names]


def _those_there_are(known: list[str]) -> str:
    if not known:
        return (
            "there is no production so far; `sora-pipeline run MANIFEST` makes one, named like the manifest"
        )
    there = "there is" if len(known) == 1 else "there are"
    return f"there is no production of this name; {there} {listed(sorted(known))}"
