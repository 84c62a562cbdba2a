"""Where a browser reads an output without any signature: a public bucket, a CDN, a folder behind a web server."""

from urllib.parse import quote

from sora_pipeline.settings import Settings
from sora_pipeline.uris import absolute_uri


def public_address(settings: Settings, output_uri: str) -> str | None:
    """The web address of a production's output; None: nobody has said that browsers can read it."""
    if settings.public_url is None:
        return None
    root, output = absolute_uri(settings.output).rstrip("/"), output_uri.rstrip("/")
    if output != root and not output.startswith(f"{root}/"):
        return None
    return settings.public_url.rstrip("/") + quote(output.removeprefix(root))
