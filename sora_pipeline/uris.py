"""Paths and URIs as users write them, made absolute so that every process means the same file."""

import re
from pathlib import Path

_SCHEME = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+:(//|/)")


def is_uri(text: str) -> bool:
    """Whether the text names a scheme, such as ``s3://``, ``https://`` or ``memory://``."""
    return bool(_SCHEME.match(text))


def absolute_uri(text: str) -> str:
    """The same place, independent of the current folder; ``file://`` URIs become paths."""
    if text.startswith("file://"):
        text = text.removeprefix("file://")
    return text if is_uri(text) else str(Path(text).expanduser().absolute())


def is_http(text: str) -> bool:
    """Whether the text is a web address."""
    return text.lower().startswith(("http://", "https://"))
