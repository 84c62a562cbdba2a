"""``sora-pipeline gallery``: opens a production's gallery."""

import webbrowser
from pathlib import Path

import typer

from sora_pipeline.cli.output import AS_JSON, BAD_INPUT, OK, console, print_json, problem
from sora_pipeline.cli.productions import completed, selected


def gallery(
    name: str = typer.Argument(
        "", metavar="[NAME]", help="The production. Default: the one read last.", autocompletion=completed
    ),
    show: bool = typer.Option(
        True, "--open/--no-open", help="Open it in the browser, or only say where it is."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Open the gallery of a production in the browser: its clips, with what became of them."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.media_server.public_links import public_address
    from sora_pipeline.production.publishing import GALLERY
    from sora_pipeline.store import OutputStore

    ledger, settings, _ = open_ledger()
    productions = selected(ledger, [name] if name else [], said_as="NAME")
    if not productions:
        problem("nothing was produced so far; begin with `sora-pipeline run MANIFEST`")
        raise typer.Exit(BAD_INPUT)
    production = productions[0]
    store = OutputStore(production.output_uri)
    if not store.exists(GALLERY):
        problem(
            f"{production.production_id} has no gallery so far; `sora-pipeline run` of its manifest makes it"
        )
        raise typer.Exit(BAD_INPUT)
    local, public = store.local_path(GALLERY), public_address(settings, production.output_uri)
    if local is not None:
        address = Path(local).absolute().as_uri()
    else:
        address = store.uri_of(GALLERY) if public is None else f"{public}/{GALLERY}"
    if as_json:
        print_json({"production": production.production_id, "gallery": address})
        raise typer.Exit(OK)
    console.print(address)
    if local is None and public is None:
        console.print(f"it is for browsers that may read {store.uri}, for instance behind your web server")
    elif show:
        webbrowser.open(address)
    raise typer.Exit(OK)
