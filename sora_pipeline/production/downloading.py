"""One download of one output URL into a staged file, with everything that HTTP can tell about it checked."""

from pathlib import Path

import httpx

from sora_pipeline.media.boxes import looks_like_mp4
from sora_pipeline.provider.errors import ProviderError
from sora_pipeline.provider.protocol import Provider

MAX_BYTES = 2 * 1024**3
_CHUNK = 1 << 18
_HEAD = 64


class DownloadProblem(Exception):
    """A download that did not bring a whole answer.

    Attributes:
        message: What happened, without the URL's query, which may hold a signature.
        gone: Whether the server says that the output is not (or no longer) there.
    """

    def __init__(self, message: str, *, gone: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.gone = gone


async def download(provider: Provider, url: str, staged: Path) -> None:
    """Stream an output into a file that is not yet the video.

    Args:
        provider: Whose ``open_output`` keeps the key at home.
        url: The output URL of the last poll.
        staged: Where the bytes go; overwritten.

    Raises:
        DownloadProblem: the answer is not a whole MP4 body.
    """
    shown = url.split("?")[0]
    try:
        async with provider.open_output(url) as response:
            _check_head(response, shown)
            await _write(response, staged, shown)
    except (httpx.HTTPError, ProviderError) as error:
        reason = str(error) or type(error).__name__
        raise DownloadProblem(f"downloading {shown} failed: {reason.replace(url, shown)}") from None


def _check_head(response: httpx.Response, shown: str) -> None:
    if response.status_code in (401, 403, 404, 410):
        raise DownloadProblem(f"{shown} answers HTTP {response.status_code}", gone=True)
    if response.status_code != 200:
        raise DownloadProblem(f"{shown} answers HTTP {response.status_code}")
    media_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type.startswith(("text/", "image/")) or media_type.endswith(("json", "xml", "html")):
        raise DownloadProblem(f"{shown} is {media_type}, not a video")


async def _write(response: httpx.Response, staged: Path, shown: str) -> None:
    promised = response.headers.get("content-length")
    encoded = response.headers.get("content-encoding", "identity") != "identity"
    written = 0
    with staged.open("wb") as file:
        async for chunk in response.aiter_bytes(_CHUNK):
            if written == 0 and len(chunk) >= _HEAD and not looks_like_mp4(chunk):
                raise DownloadProblem(f"{shown} is not an MP4 file: it begins with {chunk[:12]!r}")
            written += len(chunk)
            if written > MAX_BYTES:
                raise DownloadProblem(f"{shown} is larger than {MAX_BYTES} bytes")
            file.write(chunk)
    if promised is not None and not encoded and written != int(promised):
        raise DownloadProblem(f"{shown} ended after {written} of {promised} bytes")
    if written == 0:
        raise DownloadProblem(f"{shown} is empty")
