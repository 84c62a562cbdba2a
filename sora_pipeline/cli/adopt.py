"""``sora-pipeline adopt``: an output that another ledger made becomes a production of this one."""

import shlex

import typer

from sora_pipeline.advice import explained
from sora_pipeline.cli.ledger import recovered_facts, show_recovered
from sora_pipeline.cli.output import AS_JSON, BAD_INPUT, console, note, print_json, problem


def adopt(
    output: str = typer.Argument(metavar="OUTPUT", help="The folder or URI that holds the videos."),
    name: str = typer.Option(
        "",
        "--name",
        help="What the production is to be called. Default: as the output says, or its manifest's file stem.",
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Take over an output that another ledger made. Submits nothing, pays nothing. Exit 0 or 2."""
    from sora_pipeline.cli.opening import open_ledger, require_same_settings
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.provider.catalogue import UnknownModelError, load_catalogue
    from sora_pipeline.recovery import adopt as recovery
    from sora_pipeline.recovery.rebuild import RebuildError
    from sora_pipeline.uris import absolute_uri

    ledger, settings, home = open_ledger()
    require_same_settings(ledger, settings, home)
    catalogue = load_catalogue(settings.catalogue)
    try:
        recovered = recovery.adopt(ledger, settings, catalogue, absolute_uri(output), name or None)
    except (RebuildError, UnknownModelError) as error:
        problem(explained(error))
        raise typer.Exit(BAD_INPUT) from None
    (adopted,) = recovered.contents.productions
    production = ledger.productions.get(adopted.production_id)
    progress = progress_of(ledger, production, settings, catalogue)
    if as_json:
        print_json(recovered_facts([progress], recovered))
        return
    show_recovered([progress], recovered)
    console.print(
        f"`sora-pipeline run {shlex.quote(production.manifest_uri)} --name {production.production_id}` goes on with it and pays for "
        "nothing of it again; reading the manifest registers its clips with Dagster, and nothing of it is submitted before"
    )
    for reason in recovered.notes:
        note(explained(reason))
