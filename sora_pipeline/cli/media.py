"""``sora-pipeline media``: the media server, for a deployment's Dagster UI."""

import typer

from sora_pipeline.cli.opening import open_ledger
from sora_pipeline.cli.output import note


def media(
    host: str = typer.Option("127.0.0.1", help="Address to listen at."),
    port: int = typer.Option(3001, min=1, max=65535, help="Port to listen at."),
) -> None:
    """Serve videos and their pictures to whoever has a signed link from the Dagster UI; nothing else is shown."""
    from sora_pipeline.media_server.keys import read_key
    from sora_pipeline.media_server.links import DEFAULT_URL, MediaLinks
    from sora_pipeline.media_server.serving import listen, serve

    ledger, settings, home = open_ledger()
    address = settings.media_url or DEFAULT_URL
    listener = listen(host, port, "the media server")
    note(
        f"media server at {host}:{port}, for links that begin with {address} (SORA_MEDIA_URL); Ctrl-C ends it"
    )
    serve(ledger, MediaLinks(address, read_key(home)), listener)
