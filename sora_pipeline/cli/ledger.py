"""``sora-pipeline ledger``: what can be done about the ledger itself."""

from typing import TYPE_CHECKING, Any

import typer

from sora_pipeline.advice import explained
from sora_pipeline.cli.output import BAD_INPUT, console, note, print_json, problem, production_facts

if TYPE_CHECKING:
    from sora_pipeline.production.progress import Progress
    from sora_pipeline.recovery.rebuild import Recovered

app = typer.Typer(help="Rebuild a ledger that was lost.", no_args_is_help=True)


@app.callback()
def _commands() -> None:
    """Keep ``rebuild`` a command of its own name, though it is the only one."""


@app.command()
def rebuild(
    output: list[str] = typer.Option(
        [],
        "--output",
        metavar="URI",
        help="An output to look into although Dagster's storage is lost as well; may be given often.",
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Rebuild a lost ledger from Dagster's event log and the outputs. Submits nothing, pays nothing. Exit 0 or 2."""
    from sora_pipeline.headless.home import daemon_is_alive, open_instance, prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.provider.catalogue import UnknownModelError, load_catalogue
    from sora_pipeline.recovery.dagster_events import pipelines_in, read_history
    from sora_pipeline.recovery.evidence import History
    from sora_pipeline.recovery.rebuild import RebuildError, recover, restore
    from sora_pipeline.settings import Settings, ledger_url
    from sora_pipeline.uris import absolute_uri

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    home = prepare_home()
    ledger = Ledger(ledger_url(settings, home))
    ledger.restore.require_empty()
    with open_instance(home) as instance:
        if daemon_is_alive(instance, home):
            problem(
                f"a Dagster daemon is at work on {home}, and would submit while the ledger is empty; stop it first "
                "(one that was killed counts as alive for 75 seconds)"
            )
            raise typer.Exit(BAD_INPUT)
        history = History.of_all(read_history(instance, assets) for assets in pipelines_in(instance))
    try:
        recovered = recover(history, [absolute_uri(uri) for uri in output], settings, catalogue, ledger.now())
    except (RebuildError, UnknownModelError) as error:
        problem(explained(error))
        raise typer.Exit(BAD_INPUT) from None
    restore(ledger, recovered)
    productions = [
        progress_of(ledger, production, settings, catalogue) for production in ledger.productions.all()
    ]
    if as_json:
        print_json(recovered_facts(productions, recovered))
        return
    show_recovered(productions, recovered)
    console.print("`sora-pipeline run MANIFEST` goes on from here and pays for nothing of it again")
    for reason in recovered.notes:
        note(explained(reason))


def recovered_facts(productions: "list[Progress]", recovered: "Recovered") -> dict[str, Any]:
    """What came into the ledger, as JSON-able values."""
    return {
        "productions": [production_facts(progress) for progress in productions],
        "attempts": len(recovered.contents.attempts),
        "spent_usd": _spent_usd(productions),
        "notes": [explained(reason) for reason in recovered.notes],
    }


def show_recovered(productions: "list[Progress]", recovered: "Recovered") -> None:
    """What came into the ledger, as a table and a sentence."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("production", "manifest", "output", "clips", "USD"):
        table.add_column(name, overflow="fold", justify="right" if name == "USD" else "left")
    for progress in productions:
        counts = ", ".join(f"{clips} {status}" for status, clips in sorted(progress.counts.items()) if clips)
        production = progress.production
        table.add_row(
            production.production_id,
            production.manifest_uri,
            production.output_uri,
            counts or "none",
            f"{progress.spending.spent_usd:.2f}",
        )
    console.print(table)
    console.print(
        f"\n{len(productions)} productions, {len(recovered.contents.attempts)} attempts, {_spent_usd(productions):.2f} USD billed"
    )


def _spent_usd(productions: "list[Progress]") -> float:
    return float(sum(progress.spending.spent_usd for progress in productions))
