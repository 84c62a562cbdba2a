"""Bytes that are too many to be held: in a temporary file that has no name, that only this process can read, and that goes with it."""

import contextlib
import errno
import io
import os
import tempfile
import weakref
from collections.abc import Iterator

from sora_pipeline.errors import SoraPipelineError

CHUNK_BYTES = 1 << 20
"""How much is read at a time by whoever goes through all of it."""


class SpoolError(SoraPipelineError):
    """Raised where temporary files cannot be written; says where, and why."""


class Spool:
    """A growing temporary file. Any number of readers read it, each at a place of its own."""

    def __init__(self) -> None:
        # Beside others' temporary files, but for the moment before its name is taken away readable for this user only.
        with _explaining():
            file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with this object
        self._descriptor = file.fileno()
        self.size = 0
        weakref.finalize(self, file.close)

    @classmethod
    def of(cls, content: bytes) -> "Spool":
        """One that holds these bytes."""
        spool = cls()
        spool.write(content)
        return spool

    def write(self, content: bytes | memoryview) -> None:
        """Add bytes at the end.

        Raises:
            SpoolError: there is no space for them.
        """
        rest = memoryview(content)
        with _explaining():
            while rest:
                written = os.pwrite(self._descriptor, rest, self.size)
                rest = rest[written:]
                self.size += written

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """Bytes from a place on; to the end where nothing else is said."""
        length = self.size - start if length is None else length
        with self.open() as stream:
            stream.seek(start)
            return stream.read(length)

    def open(self) -> io.BufferedReader:
        """A reader that begins at the first byte."""
        return io.BufferedReader(_Reader(self), CHUNK_BYTES)

    def writer(self) -> io.RawIOBase:
        """A stream that adds at the end."""
        return _Writer(self)


class _Reader(io.RawIOBase):
    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._descriptor = spool._descriptor  # noqa: SLF001
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._spool.size}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        content = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


class _Writer(io.RawIOBase):
    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._spool.size

    def write(self, content: bytes | memoryview) -> int:  # type: ignore[override]
        self._spool.write(content)
        return len(content)


@contextlib.contextmanager
def _explaining() -> Iterator[None]:
    """Says of a temporary file that cannot be written where it was to be."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        why = "there is no space left" if full else error.strerror or str(error)
        raise SpoolError(
            f"temporary files cannot be written in {_folder()}: {why}.", "no_temporary_files"
        ) from error


def _folder() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:  # it says which it tried
        return error.strerror or str(error)
