"""``sora-pipeline ledger``: what can be done about the ledger itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted
from sora_pipeline.cli.help import Commands
from sora_pipeline.cli.output import AS_JSON, BAD_INPUT, console, note, print_json, problem, production_facts
from sora_pipeline.cli.tables import table

if TYPE_CHECKING:
    from sora_pipeline.production.progress import Progress
    from sora_pipeline.recovery.evidence import History
    from sora_pipeline.recovery.rebuild import Recovered

app = typer.Typer(
    cls=Commands, help="Back a ledger up, and what to do where it was lost.", no_args_is_help=True
)
OUTPUTS: Any = typer.Option(
    [],
    "--output",
    metavar="URI",
    help="An output to look into although Dagster's storage is lost as well; may be given more than once.",
)


@app.command()
def backup(
    file: Path = typer.Argument(metavar="FILE", help="The new file; one that is there is not written over."),
    as_json: bool = AS_JSON,
) -> None:
    """Copy a ledger in SQLite while it is at work. In the copy every production is paused. Exit 0 or 2."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.ledger.backup import back_up

    ledger, _, _ = open_ledger()
    back_up(ledger.database, file, ledger.now())
    if as_json:
        print_json({"file": str(file.absolute()), "bytes": file.stat().st_size})
        return
    console.print(f"{file} is the ledger as it was just now. Keep outputs that are as new, or newer")


@app.command()
def restored(output: list[str] = OUTPUTS, as_json: bool = AS_JSON) -> None:
    """After an older ledger was put back: pause all productions, and learn what was paid for since. Submits nothing. Exit 0 or 2."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.provider.catalogue import UnknownModelError, load_catalogue
    from sora_pipeline.recovery.rebuild import RebuildError
    from sora_pipeline.recovery.restored import learn_since_backup
    from sora_pipeline.uris import absolute_uri

    ledger, settings, home = open_ledger()
    since = ledger.older.is_of()
    catalogue = load_catalogue(settings.catalogue)
    try:
        learned = learn_since_backup(
            ledger, _history(home), [absolute_uri(uri) for uri in output], settings, catalogue
        )
    except (RebuildError, UnknownModelError) as error:
        problem(explained(error))
        raise typer.Exit(BAD_INPUT) from None
    names = [production.production_id for production in ledger.productions.all()]
    if as_json:
        print_json(
            {
                "since": since.isoformat() if since else None,
                "attempts": learned.attempts,
                "paused": names,
                "notes": [explained(reason) for reason in learned.notes],
            }
        )
        return
    of = f"of {since:%Y-%m-%d %H:%M:%S} UTC" if since else "of before anything was made with it"
    learnt = (
        f"{counted(learned.attempts, 'attempt was not in it and is', 'attempts were not in it and are')} now"
    )
    console.print(f"the ledger is {of}; {learnt if learned.attempts else 'no attempt was missing in it'}")
    console.print(f"paused: {', '.join(names) or 'nothing'}")
    console.print(
        "look at the provider's dashboard for what was submitted since and is not in `sora-pipeline status`; "
        "`sora-pipeline cancel --clip ID` keeps such a clip from being paid for again, and `sora-pipeline resume` lets submits go on"
    )
    for reason in learned.notes:
        note(explained(reason))


@app.command()
def rebuild(output: list[str] = OUTPUTS, as_json: bool = AS_JSON) -> None:
    """Rebuild a lost ledger from Dagster's event log and the outputs. Submits nothing, pays nothing. Exit 0 or 2."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.provider.catalogue import UnknownModelError, load_catalogue
    from sora_pipeline.recovery.rebuild import RebuildError, recover, restore
    from sora_pipeline.uris import absolute_uri

    ledger, settings, home = open_ledger()
    catalogue = load_catalogue(settings.catalogue)
    ledger.restore.require_empty()
    try:
        recovered = recover(
            _history(home), [absolute_uri(uri) for uri in output], settings, catalogue, ledger.now()
        )
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


def _history(home: Path) -> "History":
    """What Dagster remembers; a command ends here where a daemon is at work, which would submit meanwhile."""
    from sora_pipeline.headless.home import daemon_is_alive, open_instance
    from sora_pipeline.recovery.dagster_events import pipelines_in, read_history
    from sora_pipeline.recovery.evidence import History

    with open_instance(home) as instance:
        if daemon_is_alive(instance, home):
            problem(
                f"a Dagster daemon is at work on {home}, and would submit while the ledger does not know what was paid for; stop "
                "it first (one that was killed counts as alive for 75 seconds)"
            )
            raise typer.Exit(BAD_INPUT)
        return History.of_all(read_history(instance, assets) for assets in pipelines_in(instance))


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
    rows = []
    for progress in productions:
        counts = ", ".join(f"{clips} {status}" for status, clips in sorted(progress.counts.items()) if clips)
        production = progress.production
        spent_usd = f"{progress.spending.spent_usd:.2f}"
        rows.append(
            (
                production.production_id,
                production.manifest_uri,
                production.output_uri,
                counts or "none",
                spent_usd,
            )
        )
    header = ("production", "manifest", "output", "clips", "USD")
    console.print(table(header, rows, numbers=(header.index("USD"),), width=console.room))
    console.print(
        f"\n{counted(len(productions), 'production')}, {counted(len(recovered.contents.attempts), 'attempt')}, "
        f"{_spent_usd(productions):.2f} USD billed"
    )


def _spent_usd(productions: "list[Progress]") -> float:
    return float(sum(progress.spending.spent_usd for progress in productions))
