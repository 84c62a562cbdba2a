"""``sora-pipeline gallery``: opens a production's gallery."""

import webbrowser
from pathlib import Path

import typer

from sora_pipeline.amounts import counted
from sora_pipeline.cli.output import AS_JSON, BAD_INPUT, OK, console, note, print_json, problem
from sora_pipeline.cli.productions import ALSO_NAMED, completed, goes_on, one_of


def gallery(
    name: str = typer.Argument(
        "", metavar="[NAME]", help="The production. Default: the one read last.", autocompletion=completed
    ),
    production: str = ALSO_NAMED,
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
    chosen = one_of(ledger, name, production)
    if chosen is None:
        problem("nothing was produced so far; begin with `sora-pipeline run MANIFEST`")
        raise typer.Exit(BAD_INPUT)
    store = OutputStore(chosen.output_uri)
    if not store.exists(GALLERY):
        problem(f"{chosen.production_id} has no gallery so far; {goes_on(ledger, chosen)}")
        raise typer.Exit(BAD_INPUT)
    local, public = store.local_path(GALLERY), public_address(settings, chosen.output_uri)
    if local is not None:
        address = Path(local).absolute().as_uri()
    else:
        address = store.uri_of(GALLERY) if public is None else f"{public}/{GALLERY}"
    if as_json:
        print_json({"production": chosen.production_id, "gallery": address})
        raise typer.Exit(OK)
    console.print(address)
    others = len(ledger.productions.all()) - 1
    if others and not (name or production):
        note(
            f"of {chosen.production_id}, the production that was read last; `sora-pipeline gallery NAME` shows one of the "
            f"{counted(others, 'other')}"
        )
    if local is None and public is None:
        console.print(f"it is for browsers that may read {store.uri}, for instance behind your web server")
    elif show:
        webbrowser.open(address)
    raise typer.Exit(OK)
