"""Downloads one output into a staged file, with everything that HTTP can tell about it checked.

A download that broke off goes on where it stopped. Where the server cannot vouch that the file is still the same, its
length has to be; decoding the whole file decides in the end.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.media.boxes import looks_like_mp4
from sora_pipeline.provider.errors import ProviderError
from sora_pipeline.provider.protocol import Provider

if TYPE_CHECKING:
    import httpx

MAX_BYTES = 2 * 1024**3
_HEAD = 64
_GONE = (401, 403, 404, 410)
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class DownloadError(SoraPipelineError):
    """A download that did not bring a whole answer.

    Attributes:
        message: What happened, without the URL's query, which may hold a signature.
    """


class Download:
    """One output on its way into one staged file, over as many tries as it takes.

    Args:
        provider: Whose ``open_output`` keeps the key at home.
        staged: Where the bytes go. It is not the video before it has been checked.
        most_bytes: How large it may be; a larger one is not stored.
    """

    def __init__(self, provider: Provider, staged: Path, most_bytes: int = MAX_BYTES) -> None:
        self._provider = provider
        self._staged = staged
        self._most_bytes = min(most_bytes, MAX_BYTES)
        self._validator: str | None = None  # what the server calls this version of the file
        self._written = 0
        self._total: int | None = None  # bytes of the whole file, where the server said so

    async def fetch(self, url: str) -> None:
        """Download, or go on where the last try broke off.

        Args:
            url: The output URL of the last poll.

        Raises:
            DownloadError: the answer is not a whole MP4 body.
            OSError: the staged file cannot be written.
        """
        import httpx

        shown = url.split("?")[0]
        headers = {"Range": f"bytes={self._written}-"} if self._written and self._total else {}
        if headers and self._validator:
            headers["If-Range"] = self._validator
        try:
            async with self._provider.open_output(url, headers=headers) as response:
                _check_head(response, shown)
                self._validator = _validator(response)
                if not (headers and self._continued_by(response)):
                    self._written = 0
                await self._write(response, shown)
        except (httpx.HTTPError, ProviderError) as error:
            reason = str(error) or type(error).__name__
            code = error.code if isinstance(error, ProviderError) else ""
            raise DownloadError(f"downloading {shown} failed: {reason.replace(url, shown)}", code) from None

    def start_over(self) -> None:
        """Forget what was downloaded: it was whole, and not a sound video."""
        self._validator, self._written, self._total = None, 0, None

    def _continued_by(self, response: "httpx.Response") -> bool:
        content_range = _RANGE.match(response.headers.get("content-range", ""))
        same = content_range is not None and (int(content_range.group(1)), int(content_range.group(2))) == (
            self._written,
            self._total,
        )
        if response.status_code == 206 and not same:
            self.start_over()
            raise DownloadError("the server went on with another part, or another file")
        return same

    async def _write(self, response: "httpx.Response", shown: str) -> None:
        promised = response.headers.get("content-length")
        encoded = response.headers.get("content-encoding", "identity") != "identity"
        end = self._written + int(promised) if promised is not None and not encoded else None
        self._total = end
        with self._staged.open("ab" if self._written else "wb") as file:
            async for chunk in response.aiter_bytes():
                if self._written == 0 and len(chunk) >= _HEAD and not looks_like_mp4(chunk):
                    raise DownloadError(f"{shown} is not an MP4 file: it begins with {chunk[:12]!r}")
                if self._written + len(chunk) > self._most_bytes:
                    raise DownloadError(f"{shown} is larger than {self._most_bytes} bytes")
                file.write(chunk)
                self._written += len(chunk)
        if end is not None and self._written != end:
            raise DownloadError(f"{shown} ended after {self._written} of {end} bytes")
        if self._written == 0:
            raise DownloadError(f"{shown} is empty")


def _check_head(response: "httpx.Response", shown: str) -> None:
    if response.status_code in _GONE:
        raise DownloadError(f"{shown} is not there (HTTP {response.status_code})")
    if response.status_code not in (200, 206):
        raise DownloadError(f"{shown} answers HTTP {response.status_code}")
    media_type = response.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type.startswith(("text/", "image/")) or media_type.endswith(("json", "xml", "html")):
        raise DownloadError(f"{shown} is {media_type}, not a video")


def _validator(response: "httpx.Response") -> str | None:
    """A strong entity tag, or the time of the last change; a weak tag does not promise the same bytes."""
    tag: str = response.headers.get("etag", "")
    if tag and not tag.startswith("W/"):
        return tag
    modified: str | None = response.headers.get("last-modified")
    return modified
