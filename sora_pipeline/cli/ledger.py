"""``sora-pipeline ledger``: what can be done about the ledger itself."""

from typing import TYPE_CHECKING

import typer
from rich.table import Table

from sora_pipeline.cli.output import BAD_INPUT, console, note, plain, print_json, problem, production_facts

if TYPE_CHECKING:
    from sora_pipeline.production.progress import Progress

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
    import dagster as dg

    from sora_pipeline.headless.history import read_history
    from sora_pipeline.headless.home import daemon_is_alive, prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.production.rebuilding import RebuildProblem, recover
    from sora_pipeline.provider.catalogue import UnknownModel, load_catalogue
    from sora_pipeline.settings import Settings, ledger_url
    from sora_pipeline.uris import absolute_uri

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    home = prepare_home()
    ledger = Ledger(ledger_url(settings, home))
    ledger.rebuilding.require_empty()
    with dg.DagsterInstance.get() as instance:
        if daemon_is_alive(instance, home):
            problem(
                f"a Dagster daemon is at work on {home}, and would submit while the ledger is empty; stop it first "
                "(one that was killed counts as alive for 75 seconds)"
            )
            raise typer.Exit(BAD_INPUT)
        history = read_history(instance)
    try:
        recovered = recover(
            history, [absolute_uri(each) for each in output], settings, catalogue, ledger.now()
        )
    except (RebuildProblem, UnknownModel) as error:
        problem(str(error))
        raise typer.Exit(BAD_INPUT) from None
    ledger.rebuilding.insert(recovered.found)
    looks = [progress_of(ledger, each, settings, catalogue) for each in ledger.productions.all()]
    spent = sum(float(look.spending.spent_usd) for look in looks)
    if as_json:
        print_json(
            {
                "productions": [production_facts(look) for look in looks],
                "attempts": len(recovered.found.attempts),
                "spent_usd": spent,
                "notes": recovered.notes,
            }
        )
        return
    console.print(_table(looks))
    console.print(
        f"\n{len(looks)} productions, {len(recovered.found.attempts)} attempts, {spent:.2f} USD billed; "
        "`sora-pipeline run MANIFEST` goes on from here and pays for nothing of it again"
    )
    for sentence in recovered.notes:
        note(sentence)


def _table(looks: "list[Progress]") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("manifest", "output", "clips", "USD"):
        table.add_column(name, overflow="fold", justify="right" if name == "USD" else "left")
    for look in looks:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(look.counts.items()) if count)
        production = look.production
        table.add_row(
            plain(production.manifest_uri),
            plain(production.output_uri),
            counts or "none",
            f"{look.spending.spent_usd:.2f}",
        )
    return table
