"""Files and folders that only their owner may read: the ledger and the Dagster home hold full addresses and all prompts.

The process's umask does not matter, and what earlier versions made for everybody to read is closed when it is opened.
"""

import contextlib
import os
import stat
from pathlib import Path

SQLITE_BEGINNING = b"SQLite format 3\0"
"""How a database file of SQLite begins."""


def make_private_folder(folder: Path, mark: str) -> None:
    """Make a folder that only its owner may enter; close one that is there, where it is this user's own.

    Args:
        folder: The folder.
        mark: Name of the file by which such a folder is known. One that holds other files and not this is left as it is:
            ``/etc``, named by mistake, must stay open.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)
    if (folder / mark).exists() or not any(folder.iterdir()):
        close_to_others(folder)


def make_private_file(path: Path, beginning: bytes) -> None:
    """Make an empty file that only its owner may read and write, where there is none; else close it.

    Where it cannot be made, whoever opens it says why.

    Args:
        path: The file.
        beginning: How such files begin. One that begins otherwise is left as it is: it was named by mistake.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR))
    # Not opened where it is closed already: a database that this process has open would lose its locks with that.
    if _is_open_to_others(path) and _begins(path, beginning):
        close_to_others(path)


def _is_open_to_others(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False


def _begins(path: Path, beginning: bytes) -> bool:
    """Whether a file begins so, or is empty; others than regular files do not."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as stream:
            return stream.read(len(beginning)) in (beginning, b"")
    except OSError:
        return False


def close_to_others(path: Path) -> None:
    """Take every right of other users away; what is another user's, is shared on purpose (``/tmp``) or is absent stays."""
    with contextlib.suppress(OSError):
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid == os.getuid() and mode & 0o077 and not mode & stat.S_ISVTX:
            path.chmod(mode & ~0o077)
