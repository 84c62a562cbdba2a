"""What the error answers of all wire formats share: the Retry-After header, and the page of a proxy in front."""

import math
import time
from email.utils import formatdate

from starlette.responses import HTMLResponse, Response

from sora_pipeline.sandbox.refusals import Refusal
from sora_pipeline.sandbox.settings import RetryAfter

_PROXY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def bad_gateway() -> Response:
    """HTTP 502 as a proxy says it: no JSON, whatever the format."""
    return HTMLResponse(_PROXY_PAGE, 502)


def retry_after(refusal: Refusal, form: RetryAfter) -> dict[str, str]:
    """The header that says when to come back, in the form the settings ask for."""
    if refusal.retry_after_s is None or form is RetryAfter.NONE:
        return {}
    seconds = math.ceil(refusal.retry_after_s)
    if form is RetryAfter.SECONDS:
        return {"Retry-After": str(seconds)}
    return {"Retry-After": formatdate(math.ceil(time.time()) + seconds, usegmt=True)}
