"""The media server: one route, which answers to signed links."""

import time

from sqlalchemy.exc import DBAPIError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger
from sora_pipeline.media_server.files import ShownFile, shown_file
from sora_pipeline.media_server.links import MediaLinks

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",  # the address is what opens the file
}
_KEPT_S = 86_400
"""Files are never overwritten: browsers may keep them."""
ENDED = "This link has ended. Materialize its clip in the asset videos again, which costs nothing where it is delivered: that logs a new one."


def build(ledger: Ledger, links: MediaLinks) -> Starlette:
    """The application.

    Args:
        ledger: Knows the productions and their outputs.
        links: Knows the links that were made.
    """

    def media(request: Request) -> Response:  # not a coroutine: it asks the ledger and the disk
        production_id, path = request.path_params["production"], request.path_params["path"]
        until, signature = request.query_params.get("until", ""), request.query_params.get("sig", "")
        if not (until.isascii() and until.isdigit() and len(until) < 12):
            return _said("This is no link of this server.", 403)
        if not links.is_ours(production_id, path, int(until), signature):
            return _said("This is no link of this server.", 403)
        if int(until) < time.time():
            return _said(ENDED, 410)
        try:
            found = shown_file(ledger, production_id, path)
        except SoraPipelineError as error:
            return _said(str(error), 502)
        except DBAPIError:
            return _said("The ledger cannot be asked just now.", 503)
        return _answer(found)

    app = Starlette(routes=[Route("/media/{production}/{path:path}", media, methods=["GET"])])
    app.router.redirect_slashes = False
    return app


def _answer(found: ShownFile | str | None) -> Response:
    if found is None:
        return _said("There is no such file.", 404)
    if isinstance(found, str):
        return RedirectResponse(found, headers={**_HEADERS, "Cache-Control": "no-store"})
    headers = {**_HEADERS, "Cache-Control": f"private, max-age={_KEPT_S}"}
    return FileResponse(found.path, media_type=found.media_type, headers=headers)


def _said(sentence: str, status: int) -> Response:
    return PlainTextResponse(sentence, status, headers=_HEADERS)
