"""Paths and URIs as users write them, made absolute so that every process means the same file.

What may be a secret in a URI (a password, the signature in a query) is shown nowhere: ``Uri`` keeps it for whoever opens it.
"""

import os
import re
from typing import Any
from urllib.parse import unquote, urlsplit

MASK = "***"
"""Stands for the query or the fragment of a URI as it is shown."""

_SCHEME = re.compile(r"^(?:[A-Za-z][A-Za-z0-9+.-]*::)*[A-Za-z][A-Za-z0-9+.-]+://")
_CHAIN = re.compile(r"::(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_AUTHORITY_END = re.compile(r"[/?#]")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]+)?")
# Schemes are bounded, so that looking through a text takes a time in proportion to its length.
_ANY_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}://\S+")


class Uri(str):
    """A path or URI that shows itself without what may be a secret in it, wherever it is printed, joined or serialized.

    As text it is what ``shown_uri`` makes of it, so whatever takes it for a plain string (JSON, Arrow, a log line, a
    pickle) never has the secret. It equals what has the same full address.
    """

    __slots__ = ("_full",)
    _full: str

    def __new__(cls, text: str) -> "Uri":
        """From text with its secrets, or from another ``Uri``."""
        full = text.reveal() if isinstance(text, Uri) else text
        uri = super().__new__(cls, shown_uri(full))
        uri._full = full
        return uri

    def reveal(self) -> str:
        """The full address: to open it, to store it where only its owner may read it, and for nothing else."""
        return self._full

    @property
    def shown(self) -> str:
        """A plain text without secrets."""
        return str.__str__(self)

    @property
    def has_secret(self) -> bool:
        """Whether it shows less than it holds."""
        return self.shown != self._full

    def __str__(self) -> str:
        return str.__str__(self)

    def __format__(self, spec: str) -> str:
        return format(self.shown, spec)

    def __eq__(self, other: object) -> bool:
        return self._full == (other.reveal() if isinstance(other, Uri) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._full)

    def __copy__(self) -> "Uri":
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Uri":
        return self

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_wrap_validator_function(
            lambda given, handler: given if isinstance(given, cls) else cls(handler(given)),
            core_schema.str_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(shown_uri),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (self.shown,)


def is_uri(text: str) -> bool:
    """Whether the text has a scheme (``https://``, ``s3://``, ...) rather than being a path."""
    return bool(_SCHEME.match(text))


def is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: a file name of other bytes, as Python has it, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_http(text: str) -> bool:
    """Whether the text is a web address."""
    return text.lower().startswith(("http://", "https://"))


def absolute_uri(text: str) -> str:
    """The same place, independent of the current folder; ``file://`` and ``local://`` become a path.

    What is made of a ``Uri`` is one, too.
    """
    if isinstance(text, Uri):
        return Uri(absolute_uri(text.reveal()))
    if text.lower().startswith(("file://", "local://")):
        parts = urlsplit(text)
        sheet = f"#{parts.fragment}" if parts.fragment else ""  # of a workbook
        text = unquote(parts.path + sheet)
    # Links stay as they are written: what a link points to may change, and is meant to.
    return text if is_uri(text) else os.path.abspath(os.path.expanduser(text))  # noqa: PTH100, PTH111


def why_no_output(text: str) -> str | None:
    """Why an output cannot be there, however its storage is reached; None: nothing is said against it."""
    scheme, mark, rest = text.partition("://")
    if mark and not rest.strip("/") and scheme.lower() not in ("file", "local"):
        return "names no bucket, host or folder"
    if scheme.lower() == "memory" and mark:
        return "is in a process's memory, and is forgotten with it"
    return None if mark or absolute_uri(text).strip("/") else "is the root folder"


def same_place(text: str) -> str:
    """What is equal for two absolute names of one place: the path that links lead to, or the URI as it is."""
    return text.rstrip("/") if is_uri(text) else os.path.realpath(text)


def shown_uri(text: str) -> str:
    """The address without what may be a secret in it: a password, or the signature in a query or fragment.

    What is no URI, and a URI without such parts, stays as it is. The sheet of a workbook is no secret.
    """
    if isinstance(text, Uri):
        return text.shown
    if not is_uri(text):
        return text
    return "::".join(_shown_link(link) for link in _CHAIN.split(text))


def has_password(uri: str) -> bool:
    """Whether a URI has a password or key before its host or bucket."""
    authority, _ = _split_authority((uri.reveal() if isinstance(uri, Uri) else uri).partition("://")[2])
    user, at, _ = authority.rpartition("@")
    return bool(at) and ":" in user


def without_secrets(text: str) -> str:
    """A text of others in which every URI is as ``shown_uri`` shows it."""
    return _ANY_URI.sub(lambda found: shown_uri(found.group()), text)


def is_incomplete(text: str) -> bool:
    """Whether this is an address as it is shown, of which a query or fragment was left out."""
    return is_uri(text) and text.endswith((f"?{MASK}", f"#{MASK}"))


def _shown_link(text: str) -> str:
    """One link of an fsspec chain, or a whole URI that is none."""
    scheme, mark, rest = text.partition("://")
    if not mark:
        return text
    authority, rest = _split_authority(rest)
    user, at, host = authority.rpartition("@")
    # A user name alone may be a token on the web; elsewhere it names whose place it is, or the container.
    user = "" if scheme.lower() in {"http", "https"} else user.partition(":")[0]
    path, hash_mark, fragment = rest.partition("#")
    path, query_mark, query = path.partition("?")
    if fragment and not path.lower().endswith(".xlsx"):
        fragment = MASK
    query = MASK if query else ""
    return f"{scheme}://{user}{at if user else ''}{host}{path}{query_mark}{query}{hash_mark}{fragment}"


def _split_authority(rest: str) -> tuple[str, str]:
    """User, password and host, and what comes behind them.

    A password may hold marks that should be encoded: where there is one, everything up to the last @ counts as its.
    """
    authority = _AUTHORITY_END.split(rest, maxsplit=1)[0]
    user, at, host = authority.rpartition("@")
    if ":" in user or (not at and not _HOST.fullmatch(host)):
        before, at, behind = rest.rpartition("@")
        if at:
            host = _AUTHORITY_END.split(behind, maxsplit=1)[0]
            return f"{before}@{host}", behind.removeprefix(host)
    return authority, rest.removeprefix(authority)


def split_output(path: str) -> tuple[str, str]:
    """The output and the name below it of a stored video, of which only the whole path is known."""
    output, slash, name = path.rpartition("/videos/")
    if not slash:
        raise ValueError(f"{path!r} is not the path of a stored video")
    return output, f"videos/{name}"
