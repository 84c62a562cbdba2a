"""The key that links are signed with: a file in the Dagster home that only its owner may read."""

import fcntl
import os
import secrets
import stat
import uuid
from pathlib import Path
from typing import IO

from sora_pipeline.errors import SoraPipelineError

KEY_FILE = "media.key"
_BYTES = 32


class MediaKeyError(SoraPipelineError):
    """Raised where there is no key, or the file holds none; says which file."""


def read_key(home: Path) -> bytes:
    """The key of a home.

    Raises:
        MediaKeyError: there is none, or the file cannot be read or holds something else.
    """
    path = home / KEY_FILE
    try:
        key = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "it holds no key"
        raise MediaKeyError(f"the key of media links {path} cannot be used: {reason}", "media_key") from None
    if len(key) != _BYTES:
        raise MediaKeyError(f"the key of media links {path} cannot be used: it is cut off", "media_key")
    return key


def make_key(home: Path) -> None:
    """Make the key of a home, where it has none; of several processes that do so at once one succeeds.

    Raises:
        OSError: it cannot be written.
    """
    path = home / KEY_FILE
    if path.exists():
        return
    whole = home / f"{KEY_FILE}.{uuid.uuid4().hex[:8]}"
    try:
        with _private(whole, os.O_EXCL) as stream:
            stream.write(secrets.token_hex(_BYTES))
        try:
            os.link(whole, path)  # never over a key that appeared just now
        except FileExistsError:
            pass
        except OSError:  # exFAT, network mounts and some containers have no hard links
            _rename_alone(whole, path)
    finally:
        whole.unlink(missing_ok=True)


def _rename_alone(whole: Path, path: Path) -> None:
    """Give a file its name, unless somebody was quicker; a rename alone would replace the key that he has signed with."""
    with _private(path.with_name(f"{path.name}.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            whole.rename(path)


def _private(path: Path, flags: int = 0) -> IO[str]:
    """A file to be written that only its owner may read."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | flags, stat.S_IRUSR | stat.S_IWUSR), "w")
