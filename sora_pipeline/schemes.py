"""Which files named by others are opened: a list of schemes, and nothing that stands behind another address.

fsspec itself opens far more. A driver such as ``ftp://``, ``sftp://`` or ``webhdfs://`` connects to whatever host the address names,
and a chain such as ``zip://a.png::http://host/a.zip`` reaches it through another driver, both around the check that web addresses go
through. On the list is what names no host, or one that its driver takes from the user's own environment.
"""

from pathlib import Path
from typing import IO, cast

from sora_pipeline.uris import absolute_uri, has_password

WEB_SCHEMES = ("http", "https")
SCHEMES = ("file", *WEB_SCHEMES, "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "hf")


def why_refused(uri: str) -> str | None:
    """Why a path or URI is not opened, as a clause; None: it may be."""
    if _is_path(uri):
        return None
    scheme, _, rest = uri.partition("://")
    if "::" in scheme or "::" in _without_host(rest):
        return f"it names one file behind another (::); allowed are {_ALLOWED}"
    if scheme.lower() not in SCHEMES:
        return f"{scheme[:40]}:// is not allowed; allowed are {_ALLOWED}"
    if has_password(uri) and not is_web(uri):
        # No driver takes it from there, and the ledger would keep it.
        return "its address holds a password or key; the drivers of object stores take those from the environment"
    return None


_ALLOWED = f"a path, and URIs that begin with {', '.join(f'{scheme}://' for scheme in SCHEMES)}"


def is_web(uri: str) -> bool:
    """Whether the URI is a web address, whose host whoever wrote it has chosen."""
    return uri.partition("://")[0].lower() in WEB_SCHEMES


def open_uri(uri: str) -> IO[bytes]:
    """A file opened for reading.

    Args:
        uri: A path, or a URI for which ``why_refused`` has nothing to say.

    Raises:
        ValueError: the URI is refused.
        Exception: every fsspec driver raises errors of its own library.
    """
    reason = why_refused(uri)
    if reason is not None:
        raise ValueError(reason)
    scheme, _, rest = uri.partition("://")
    if _is_path(uri) or scheme.lower() == "file":
        return Path(absolute_uri(uri)).open("rb")
    import fsspec
    from fsspec.core import url_to_fs

    if is_web(uri):  # not through url_to_fs, which would take an IPv6 address for a chain
        return cast(IO[bytes], fsspec.filesystem("http").open(uri, "rb"))
    fs, path = url_to_fs(f"{scheme.lower()}://{rest}")
    return cast(IO[bytes], fs.open(path, "rb"))


def _is_path(uri: str) -> bool:
    return "://" not in uri or uri.startswith("/")


def _without_host(rest: str) -> str:
    """What stands behind an IPv6 address."""
    return rest.partition("]")[2] if rest.startswith("[") else rest
