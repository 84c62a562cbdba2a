"""Where outputs are kept: a folder, or any place that fsspec knows. Moves bytes; knows nothing of clips or Dagster.

Under a final name there is either nothing or the whole file, whenever the process dies.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from fsspec.core import url_to_fs

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.spool import CHUNK_BYTES, Spool, SpoolError
from sora_pipeline.storage_drivers import (
    has_folders,
    media_type,
    protocols,
    put_new,
    send,
    send_bytes,
    signing,
)
from sora_pipeline.uris import is_unicode, shown_uri

_CAUSES = {
    errno.ENOSPC: ("there is no space left", "store_full"),
    errno.EDQUOT: ("the quota is used up", "store_full"),
    errno.EACCES: ("permission is denied", "store_denied"),
    errno.EPERM: ("permission is denied", "store_denied"),
    errno.EROFS: ("the file system is read-only", "store_read_only"),
    errno.ENOTDIR: ("a part of its path is a file, not a folder", "store_not_a_folder"),
    errno.EISDIR: ("a folder stands in its place", "store_in_the_way"),
    errno.ESPIPE: ("a pipe or a device stands in its place", "store_in_the_way"),
    errno.ENAMETOOLONG: ("the path is too long", "store_name_too_long"),
}
ABANDONED_S = 900.0
"""Seconds after which nobody can still be at work on an unfinished file: a download that stands still is given up sooner."""
_NO_HARD_LINKS = frozenset(
    {errno.EPERM, errno.EXDEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
)


class StoreError(SoraPipelineError):
    """Raised where an output cannot be written or read; says which, and what failed."""


class OutputStore:
    """A folder or an fsspec URI, and the files below it by their relative POSIX path.

    Thread-safe; blocking, so async callers use ``asyncio.to_thread``.

    Args:
        uri: For example ``output``, ``/srv/videos`` or ``s3://bucket/videos``.

    Raises:
        StoreError: the URI holds what may be a secret, its protocol is unknown, or its driver is not installed.
    """

    def __init__(self, uri: str) -> None:
        if shown_uri(uri) != uri:
            # It would be in every row, event and page that names a video.
            raise StoreError(
                f"The address of the output {shown_uri(uri)} must hold no password, query or fragment.",
                "secret_in_output",
            )
        if not is_unicode(uri):
            raise StoreError(
                f"The name of the output {uri} is not UTF-8 text. Name another folder, or rename it."
            )
        self._root: Path | None = None
        self._fs: Any = None  # fsspec's drivers are untyped
        if "://" not in uri:
            self._root = Path(uri).expanduser().absolute()
            self.uri = str(self._root)
            return
        self.uri = uri.rstrip("/")
        if "::" in uri:
            # fsspec would write to a copy, or into an archive that is whole only when it is closed.
            raise StoreError(f"The output {self.uri} is behind another address (::).", "store_unknown")
        try:
            self._fs, path = url_to_fs(uri)
        except Exception as error:  # a driver may fail in any way while it is set up
            raise self.problem("be opened", error) from error
        if protocols(self._fs) & {"file", "local"}:
            self._root = Path(path)
            self.uri = str(self._root)
        self._base = str(path).rstrip("/")

    def __repr__(self) -> str:
        return f"OutputStore({self.uri!r})"

    def uri_of(self, relative: str) -> str:
        """The absolute path or URI of an output."""
        return str(self._root / _checked(relative)) if self._root else f"{self.uri}/{_checked(relative)}"

    def local_path(self, relative: str) -> Path | None:
        """The path of an output where the store is local, else None."""
        return self._root / _checked(relative) if self._root else None

    @property
    def local_root(self) -> Path | None:
        """The folder where the store is local, else None."""
        return self._root

    def presigned(self, relative: str, seconds: int) -> str:
        """A web address that opens an output of an object store for a while: a secret for as long.

        Raises:
            StoreError: this storage makes none.
        """
        if self._root:
            raise StoreError(
                f"Output {self.uri_of(relative)} is a file of this machine and has no web address."
            )
        with self._explaining("be given a web address", relative):
            try:
                path = f"{self._base}/{_checked(relative)}"
                return str(signing(self._fs).sign(path, expiration=seconds))
            except NotImplementedError:
                raise StoreError(
                    f"The storage of {self.uri} makes no web addresses; the file is {self.uri_of(relative)}."
                ) from None

    def staging_dir(self) -> Path:
        """A local folder for unfinished files; in the store's own file system where the store is local.

        What lies there is never an output; what nobody writes to any more is removed by ``clear_staging``.

        Raises:
            StoreError: it cannot be made.
        """
        staging = self._root / ".staging" if self._root else self._staging_elsewhere()
        with self._explaining("be written to"):
            _make_folder(staging)
        return staging

    def _staging_elsewhere(self) -> Path:
        # Of each user of the machine, since the first one's could be written by nobody else; and of each output, since
        # attempts of several ledgers have equal numbers.
        users = Path(tempfile.gettempdir()) / f"sora-pipeline-staging-{os.getuid()}"
        return users / hashlib.sha256(self.uri.encode()).hexdigest()[:16]

    @contextlib.contextmanager
    def staged_file(self) -> Iterator[Path]:
        """The path of an unfinished file in ``staging_dir()``, which is gone afterwards.

        Raises:
            StoreError: the folder cannot be made.
        """
        # Not tempfile: its files are private to this user, and a rename keeps that.
        path = self.staging_dir() / f"{uuid.uuid4().hex}.part"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def explaining(self) -> Iterator[None]:
        """Errors of those who write into ``staging_dir()`` themselves as ``StoreError``."""
        try:
            yield
        except OSError as error:
            raise self.problem("be written", error) from error

    def clear_staging(self) -> None:
        """Remove unfinished files that nobody has written to for long: those of processes that were killed.

        Raises:
            StoreError: the folder cannot be read.
        """
        long_ago = time.time() - ABANDONED_S
        staging = self.staging_dir()
        if staging.is_symlink():  # somebody else's folder
            return
        for path in staging.iterdir() if self._root else staging.parent.rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # finished just now
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and found.st_mtime < long_ago:
                    path.unlink()

    def put_file(self, local: Path, relative: str) -> None:
        """Store a finished local file under a name that is still free; the local file stays where it is.

        A file in ``staging_dir()`` is not copied but gets its final name as a second one, so it may be deleted
        afterwards, but must not be changed.

        Raises:
            FileExistsError: there is an output of this name already; it is left alone.
            StoreError: it cannot be written.
        """
        with self._explaining("be written", relative):
            if self._root:
                self._put_local(local, self._root / _checked(relative))
            else:
                path = self._remote(relative)
                self._make_parent(path)
                put_new(self._fs, str(local), path)

    def replace_bytes(self, relative: str, content: bytes) -> None:
        """Write an output, replacing the one of this name as a whole, in one step.

        Raises:
            StoreError: it cannot be written; the old one is untouched.
        """
        with self._explaining("be written", relative):
            if not self._root:
                path = self._remote(relative)
                self._make_parent(path)
                send_bytes(self._fs, content, path, **media_type(self._fs, relative))
                return
            target = self._root / _checked(relative)
            _make_folder(target.parent)
            with self.staged_file() as temporary:
                temporary.write_bytes(content)
                _sync(temporary)
                temporary.replace(target)
            _sync(target.parent)

    def replace_file(self, local: Path, relative: str) -> None:
        """Store a finished file of ``staged_file()``, replacing the output of this name as a whole, in one step.

        The local file may be gone afterwards.

        Raises:
            StoreError: it cannot be written; the old one is untouched.
        """
        with self._explaining("be written", relative):
            if not self._root:
                path = self._remote(relative)
                self._make_parent(path)
                send(self._fs, str(local), path, **media_type(self._fs, relative))
                return
            target = self._root / _checked(relative)
            _make_folder(target.parent)
            _sync(local)
            local.replace(target)
            _sync(target.parent)

    def replace_written(self, relative: str, write: Callable[[IO[bytes]], object]) -> None:
        """Write an output that is too large to be held, replacing the one of this name as a whole, in one step.

        Args:
            relative: The output.
            write: Writes its content into a file.

        Raises:
            StoreError: it cannot be written; the old one is untouched.
        """
        with self._explaining("be written", relative), self.staged_file() as staged:
            with staged.open("wb") as stream:
                write(stream)
            self.replace_file(staged, relative)

    def create_bytes(self, relative: str, content: bytes) -> None:
        """Write an output under a name that is still free; of several who do so at the same moment one succeeds.

        Raises:
            FileExistsError: there is an output of this name already; it is left alone.
            StoreError: it cannot be written.
        """
        with self._explaining("be written", relative), self.staged_file() as temporary:
            temporary.write_bytes(content)
            self.put_file(temporary, relative)

    def read_bytes(self, relative: str, most: int | None = None) -> bytes:
        """The content of an output.

        Args:
            relative: The output.
            most: How large it may be; None: as large as it is.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read, or is larger.
        """
        with self._explaining("be read", relative):
            if most is not None and (size := self.size(relative)) > most:
                raise StoreError(
                    f"Output {self.uri_of(relative)} has {size:,} bytes; such a file has at most {most:,}."
                )
            if self._root:
                return _regular(self._root / _checked(relative)).read_bytes()
            content: bytes = self._fs.cat_file(self._remote(relative))
            return content

    def read_to_spool(self, relative: str) -> Spool:
        """A copy of an output that is too large to be held.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read.
            SpoolError: there is no space for the copy.
        """
        spool = Spool()
        with self._explaining("be read", relative), self._opened(relative) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                spool.write(chunk)
        return spool

    def first_bytes(self, relative: str, count: int) -> bytes:
        """How an output begins.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read.
        """
        with self._explaining("be read", relative), self._opened(relative) as stream:
            return stream.read(count)

    def copy_to(self, relative: str, local: Path) -> None:
        """Copy an output into a local file.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read, or the file not be written.
        """
        with (
            self._explaining("be copied", relative),
            self._opened(relative) as stream,
            local.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file, CHUNK_BYTES)

    def _opened(self, relative: str) -> IO[bytes]:
        if self._root:
            return _regular(self._root / _checked(relative)).open("rb")
        return cast(IO[bytes], self._fs.open(self._remote(relative), "rb"))

    def exists(self, relative: str) -> bool:
        """Whether there is an output of this name.

        Raises:
            StoreError: the store cannot be asked.
        """
        with self._explaining("be looked up", relative):
            if self._root:
                return (self._root / _checked(relative)).exists()
            return bool(self._fs.exists(self._remote(relative)))

    def remove(self, relative: str) -> None:
        """Delete an output; where there is none, nothing happens.

        Raises:
            StoreError: it cannot be deleted.
        """
        with self._explaining("be removed", relative), contextlib.suppress(FileNotFoundError):
            if self._root:
                (self._root / _checked(relative)).unlink()
            else:
                self._fs.rm_file(self._remote(relative))

    def names(self, folder: str) -> list[str]:
        """What lies directly in a folder of the store, by relative path; nothing where there is no such folder.

        Args:
            folder: Its relative path; empty: the store itself.

        Raises:
            StoreError: the store cannot be asked.
        """
        below = f"{folder}/" if folder else ""
        with self._explaining("be listed", folder or None):
            if self._root:
                path = self._root / folder
                return sorted(f"{below}{entry.name}" for entry in path.iterdir()) if path.is_dir() else []
            try:
                listed = self._fs.ls(self._remote(f"{below}any").rpartition("/")[0], detail=False)
            except FileNotFoundError:
                return []
            return sorted(f"{below}{str(entry).rstrip('/').rpartition('/')[2]}" for entry in listed)

    def size(self, relative: str) -> int:
        """Bytes of an output.

        Raises:
            FileNotFoundError: there is none.
            StoreError: the store cannot be asked.
        """
        with self._explaining("be looked up", relative):
            if self._root:
                return (self._root / _checked(relative)).stat().st_size
            return int(self._fs.size(self._remote(relative)))

    def sha256(self, relative: str) -> str:
        """Hex hash of an output, read to its end.

        Raises:
            FileNotFoundError: there is none.
            StoreError: it cannot be read.
        """
        with self._explaining("be read", relative):
            digest = hashlib.sha256()
            with self._opened(relative) as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
            return digest.hexdigest()

    def problem(self, verb: str, error: Exception, relative: str | None = None) -> StoreError:
        """An error as a sentence for people, also for those who write into ``staging_dir()`` themselves.

        Args:
            verb: What could not be done, for example ``be written``.
            error: What was raised.
            relative: The output concerned, or None for the store as a whole.
        """
        name = f"Output {self.uri_of(relative)}" if relative else f"The output store {self.uri}"
        if isinstance(error, ImportError):
            return StoreError(
                f"{name} could not {verb}: {error}. The driver for this kind of storage is a package of its own; install "
                "it in the environment that runs the pipeline (s3fs for s3://, gcsfs for gs://, adlfs for abfs://)."
            )
        if isinstance(error, ValueError) and "rotocol" in str(error):
            return StoreError(f"{name} could not {verb}: {error}.", "store_unknown")
        number = error.errno if isinstance(error, OSError) else None
        if number is None and isinstance(error, PermissionError):
            number = errno.EACCES  # how remote drivers say it
        if number in _CAUSES:
            what, code = _CAUSES[number]
            return StoreError(f"{name} could not {verb}: {what}.", code)
        message = str(error).strip() or "no further words"
        return StoreError(
            f"{name} could not {verb}: {type(error).__name__}: {message[:300]}.", "store_failed"
        )

    @contextlib.contextmanager
    def _explaining(self, verb: str, relative: str | None = None) -> Iterator[None]:
        if relative is not None:
            _checked(relative)  # a mistake of the caller's is not the store's problem
        try:
            yield
        except (FileExistsError, StoreError, SpoolError):
            raise
        except FileNotFoundError as error:
            if verb == "be written":  # a missing bucket, for example
                raise self.problem(verb, error, relative) from error
            raise
        except Exception as error:  # every fsspec driver raises errors of its own library
            raise self.problem(verb, error, relative) from error

    def _put_local(self, local: Path, target: Path) -> None:
        _make_folder(target.parent)
        if target.exists():  # before anything is copied; the link below is what decides
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        staged = local.absolute().is_relative_to(self.staging_dir())
        with contextlib.nullcontext(local) if staged else self.staged_file() as whole:
            if not staged:
                shutil.copyfile(local, whole)
            _sync(whole)
            try:
                os.link(whole, target)
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                self._rename_into(whole, target, keep=staged)
        _sync(target.parent)

    def _rename_into(self, whole: Path, target: Path, *, keep: bool) -> None:
        # For file systems without hard links. A rename would replace a file that appeared just now; names are unique
        # to an attempt and an attempt has one owner, so nobody else writes this one.
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        if not keep:
            whole.rename(target)
            return
        with self.staged_file() as copy:
            shutil.copyfile(whole, copy)
            _sync(copy)
            copy.rename(target)

    def _make_parent(self, path: str) -> None:
        if has_folders(self._fs):
            self._fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)

    def _remote(self, relative: str) -> str:
        path = f"{self._base}/{_checked(relative)}"
        # Listings are cached by the drivers; another process may have written since.
        self._fs.invalidate_cache(str(PurePosixPath(path).parent))
        return path


def is_relative(path: str) -> bool:
    """Whether this is a relative path inside an output store."""
    return "\\" not in path and not any(part in {"", ".", ".."} for part in path.split("/"))


def _checked(relative: str) -> str:
    if not is_relative(relative):
        raise ValueError(f"{relative!r} is not a relative path inside the output store")
    return relative


def _regular(path: Path) -> Path:
    """The path of a file that has an end: reading a pipe or a device may take for ever."""
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.ESPIPE, os.strerror(errno.ESPIPE), str(path))
    return path


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # a file of that name; must not pass for "this output exists already"
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from error


def _sync(path: Path) -> None:
    """Make what was written survive a power cut; for a folder, its names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:  # some network file systems cannot sync folders
            raise
    finally:
        os.close(descriptor)
