"""What fsspec's drivers do each in its own way: media types, writing under a name that must be free, and signing addresses."""

import errno
import mimetypes
import os
from collections.abc import Mapping, Set
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.exceptions import FSTimeoutError

# fsspec's drivers are untyped.
Driver = Any

_S3 = frozenset({"s3", "s3a"})
_GOOGLE = frozenset({"gs", "gcs"})
_AZURE = frozenset({"az", "abfs", "abfss", "adl"})
SILENT_S = 120.0
"""Seconds that a store may take for a file, beside what sending it takes."""
SLOWEST = 12_500
"""Bytes a second that are waited for: the eighth part of a slow line, which that many files may share."""
_OBJECT_STORES = _S3 | _GOOGLE | _AZURE | {"oss", "memory"}


def protocols(driver: Driver) -> Set[str]:
    """The schemes that a driver is for."""
    named = driver.protocol
    return {named} if isinstance(named, str) else set(named)


def has_folders(driver: Driver) -> bool:
    """Whether folders must be made: object stores have none, and asking for one may need rights that writing does not."""
    return not protocols(driver) & _OBJECT_STORES


def media_type(driver: Driver, name: str) -> Mapping[str, Any]:
    """What tells a driver which kind of file it writes, where it does not guess that itself: a browser saves a page of no known kind."""
    guessed, _ = mimetypes.guess_type(name)
    schemes = protocols(driver)
    if guessed is None:
        return {}
    if schemes & _S3:
        return {"ContentType": guessed}
    if schemes & _GOOGLE:
        return {"content_type": guessed}
    return {"content_settings": {"content_type": guessed}} if schemes & _AZURE else {}


def send(driver: Driver, local: str, path: str, **options: Any) -> None:
    """Store a local file; a store that does not take it has so long as it would need at the slowest, and two minutes.

    S3's driver has no end of its own: it sends ``Expect: 100-continue``, and waits for a store or a proxy that never answers that for
    ever (aiohttp begins to count only once the file is sent).

    Raises:
        TimeoutError: the time is over.
        Exception: every driver raises errors of its own library.
    """
    _limited(driver, Path(local).stat().st_size, driver.put_file, local, path, **options)


def send_bytes(driver: Driver, content: bytes, path: str, **options: Any) -> None:
    """Store what is in memory, like ``send``.

    Raises:
        TimeoutError: the time is over.
        Exception: every driver raises errors of its own library.
    """
    _limited(driver, len(content), driver.pipe_file, path, content, **options)


def _limited(driver: Driver, size: int, write: Driver, *arguments: Any, **options: Any) -> None:
    if not getattr(driver, "async_impl", False):
        write(*arguments, **options)
        return
    seconds = SILENT_S + size / SLOWEST
    try:
        write(*arguments, timeout=seconds, **options)
    except FSTimeoutError as error:
        raise TimeoutError(f"the store has not taken it within {seconds:.0f} s") from error


def put_new(driver: Driver, local: str, path: str) -> None:
    """Store a file under a name that is free; of several who do so at the same moment one succeeds, where the storage can see to that.

    Raises:
        FileExistsError: the name is taken; possibly by this very file, where only the storage's answer was lost.
        Exception: every driver raises errors of its own library.
    """
    if driver.exists(path):  # not every storage takes notice of the condition below
        raise _taken(path)
    kind = media_type(driver, path)
    try:
        send(driver, local, path, mode="create", **kind)
    except FileExistsError:
        raise
    except Exception as error:
        if "notimplemented" in f"{type(error).__name__}{error}".lower().replace(" ", ""):
            send(driver, local, path, **kind)  # an S3 lookalike that refuses conditions
            return
        # Lookalikes word a condition that does not hold in ways that their driver does not know. Elsewhere than in an
        # object store what is there now may be the half of this file.
        if not has_folders(driver) and _is_there(driver, path):
            raise _taken(path) from error
        raise


def signing(driver: Driver) -> Driver:
    """The driver as it signs addresses that open everywhere."""
    if not protocols(driver) & _S3:
        return driver
    # By itself botocore signs addresses in the old way, which newer regions and objects encrypted by a key of KMS refuse.
    # The newer way names the bucket's region, which the driver has to ask for.
    options = dict(driver.storage_options)
    options["config_kwargs"] = {"signature_version": "s3v4", **options.get("config_kwargs", {})}
    return type(driver)(**{"cache_regions": True, **options})


def _is_there(driver: Driver, path: str) -> bool:
    driver.invalidate_cache(str(PurePosixPath(path).parent))
    with suppress(Exception):  # the error that came first is the one to tell
        return bool(driver.exists(path))
    return False


def _taken(path: str) -> FileExistsError:
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
