"""Where things are: reading bytes from a path or URI, and resolving what a manifest names beside itself."""

import hashlib
import os
import posixpath
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from sora_pipeline.manifest.bounds import require_bytes
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.schemes import open_uri, why_refused
from sora_pipeline.spool import CHUNK_BYTES, Spool
from sora_pipeline.uris import absolute_uri, is_http, is_uri


def beside(manifest_uri: str, reference: str) -> str:
    """Resolve a reference as the manifest at ``manifest_uri`` (absolute) means it."""
    if is_uri(reference) or os.path.isabs(reference):  # noqa: PTH117 - text in, text out
        return absolute_uri(reference)
    if not is_uri(manifest_uri):
        folder = os.path.dirname(manifest_uri)  # noqa: PTH120
        return os.path.normpath(os.path.join(folder, reference))  # noqa: PTH118
    if is_http(manifest_uri):
        return urljoin(manifest_uri, reference)
    scheme, path = manifest_uri.split("://", 1)
    return f"{scheme}://{posixpath.normpath(posixpath.join(posixpath.dirname(path), reference))}"


def file_name(uri: str) -> str:
    """``prompts.CSV`` for ``https://host/prompts.CSV?token=1``."""
    return posixpath.basename(urlsplit(uri).path if is_uri(uri) else uri)


def split_sheet(uri: str) -> tuple[str, str | None]:
    """The workbook and its sheet, for ``prompts.xlsx#Autumn``; any other name as it is, without one."""
    workbook, mark, sheet = uri.rpartition("#")
    if mark and sheet and extension(workbook) == ".xlsx":
        return workbook, sheet
    return uri, None


def extension(uri: str) -> str:
    """``.csv`` for ``https://host/prompts.CSV?token=1``."""
    return posixpath.splitext(file_name(uri))[1].lower()


def read_to_spool(uri: str, most: int) -> tuple[Spool, str]:
    """Copy a whole file from a path or a URI of one of the schemes of ``schemes``: what is read twice must not change between.

    Args:
        uri: The file.
        most: How many bytes it may have; no more is read.

    Returns:
        The copy, and the hex SHA-256 of its bytes.

    Raises:
        ManifestError: it is larger, or cannot be read, whatever the reason.
        SpoolError: there is no space for the copy.
    """
    refused = why_refused(uri)
    if refused is not None:
        raise ManifestError(uri, f"it is not read: {refused}.")
    spool, digest = Spool(), hashlib.sha256()
    for chunk in _chunks(uri):
        spool.write(chunk)
        digest.update(chunk)
        if spool.size > most:
            break
    require_bytes(uri, min(spool.size, most + 1), "it has")
    return spool, digest.hexdigest()


def _chunks(uri: str) -> Iterator[bytes]:
    try:
        with open_uri(uri) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        raise ManifestError(uri, "there is no such file. Check the path or URI of the manifest.") from None
    except IsADirectoryError:
        raise ManifestError(
            uri, "this is a folder. Name the CSV, Parquet, Excel or JSON Lines file in it."
        ) from None
    except ImportError as error:
        reason = f"this kind of URI needs a package that is not installed: {error}"
        raise ManifestError(uri, reason) from error
    except Exception as error:  # every fsspec backend raises errors of its own
        reason = f"the file cannot be read ({type(error).__name__}: {error}). Check the place and your access to it."
        raise ManifestError(uri, reason) from error
