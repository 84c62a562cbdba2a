"""Paths and URIs as users write them, made absolute so that every process means the same file."""

import os
import re
from urllib.parse import unquote, urlsplit

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")


def is_uri(text: str) -> bool:
    """Whether the text has a scheme (``https://``, ``s3://``, ...) rather than being a path."""
    return bool(_SCHEME.match(text))


def is_http(text: str) -> bool:
    """Whether the text is a web address."""
    return text.lower().startswith(("http://", "https://"))


def absolute_uri(text: str) -> str:
    """The same place, independent of the current folder; ``file://`` and ``local://`` become a path."""
    if text.lower().startswith(("file://", "local://")):
        parts = urlsplit(text)
        sheet = f"#{parts.fragment}" if parts.fragment else ""  # of a workbook
        text = unquote(parts.path + sheet)
    # Links stay as they are written: what a link points to may change, and is meant to.
    return text if is_uri(text) else os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111


def same_place(text: str) -> str:
    """What is equal for two absolute names of one place: the path that links lead to, or the URI as it is."""
    return text.rstrip("/") if is_uri(text) else os.path.realpath(text)


def shown_uri(text: str) -> str:
    """The address without what may be a secret in it: a password, or the signature in a query."""
    if not is_uri(text):
        return text
    parts = urlsplit(text)
    user, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{user.partition(':')[0]}{at}{host}{parts.path}"


def split_output(path: str) -> tuple[str, str]:
    """The output and the name below it of a stored video, of which only the whole path is known."""
    output, slash, name = path.rpartition("/videos/")
    if not slash:
        raise ValueError(f"{path!r} is not the path of a stored video")
    return output, f"videos/{name}"
