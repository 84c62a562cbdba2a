"""How a CSV file is written: its encoding, and what separates its columns. Knows of columns only how ``prompt`` may be written.

Nothing is guessed that could be otherwise: whichever separators there may be, with one of them only the first line has a prompt column.
"""

import contextlib
import csv
import io
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from sora_pipeline.manifest.bounds import MAX_COLUMNS, require_at_most
from sora_pipeline.manifest.columns import meant_by
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.text_encoding import UTF_8, Encoding, encoding_of
from sora_pipeline.spool import Spool

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_REFUSED = {"|": "vertical bars"}
_DECLARED = re.compile(r"\s*sep=(.)[\r\n]*", re.IGNORECASE)
"""The line by which Excel is told a separator, and which it does not show."""
_LIMIT_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a CSV file is written.

    Attributes:
        encoding: Of its text.
        delimiter: Between columns.
        declared: Whether its first line says so, and is no row.
    """

    encoding: Encoding = UTF_8
    delimiter: str = ","
    declared: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is comma-separated, as every manifest was once."""
        return self.delimiter == ","

    @property
    def words(self) -> tuple[str, ...]:
        """What people are told of it; nothing, where nothing was guessed."""
        written = () if self.is_plain else (f"CSV with {DELIMITERS[self.delimiter]}",)
        if self.encoding.name is None:
            return written
        guess = (
            ' (a guess from its letters; to be sure, save it as "CSV UTF-8")' if self.encoding.guessed else ""
        )
        return *written, f"{self.encoding.name}{guess}"

    @contextlib.contextmanager
    def open(self, content: Spool) -> Iterator[IO[str]]:
        """The file's text from its first row on."""
        with io.TextIOWrapper(content.open(), encoding=self.encoding.codec, newline="") as lines:
            if self.declared:
                lines.readline()
            yield lines


def dialect_of(uri: str, content: Spool) -> Dialect:
    """How a file is written.

    Raises:
        ManifestError: it is no text, or can be read in more than one way.
    """
    encoding = encoding_of(uri, content)
    declared = _declared(uri, content, encoding)
    if declared is not None:
        return Dialect(encoding, declared, declared=True)
    headers = _headers(content, encoding)
    fits = [mark for mark, names in headers.items() if any(meant_by(name) == "prompt" for name in names)]
    if len(fits) > 1 and max(len(headers[mark]) for mark in fits) > 1:
        marks = " and with ".join(DELIMITERS[mark] for mark in fits)
        reason = (
            f"its first line can be read with {marks} between the columns, and has a prompt column either way. Save it with "
            "commas, and put names that hold a comma between double quotes."
        )
        raise ManifestError(uri, reason)
    if not fits:
        _refuse_others(uri, headers[","])
        fits = [max(headers, key=lambda mark: len(headers[mark]))]
    require_at_most(uri, MAX_COLUMNS, len(headers[fits[0]]), "columns")
    return Dialect(encoding, fits[0])


def _declared(uri: str, content: Spool, encoding: Encoding) -> str | None:
    with Dialect(encoding).open(content) as lines:
        found = _DECLARED.fullmatch(lines.readline(16))
    if found is None:
        return None
    if found[1] not in DELIMITERS:
        reason = f'its first line says that columns are separated by "{found[1]}". Commas, semicolons and tabs are allowed.'
        raise ManifestError(uri, reason)
    return found[1]


def _headers(content: Spool, encoding: Encoding) -> dict[str, list[str]]:
    """The first row with each of the separators that it holds."""
    plain = _header(content, Dialect(encoding))
    others = [mark for mark in DELIMITERS if not plain or any(mark in name for name in plain)]
    return {",": plain} | {mark: _header(content, Dialect(encoding, mark)) for mark in others if mark != ","}


def _header(content: Spool, dialect: Dialect) -> list[str]:
    """The cells of the first row that is not blank; none where it cannot be read like this."""
    with cells_of_any_length(content), contextlib.suppress(csv.Error), dialect.open(content) as lines:
        rows = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
        return next((cells for cells in rows if "".join(cells).strip()), [])
    return []


def _refuse_others(uri: str, names: list[str]) -> None:
    for mark, words in _REFUSED.items():
        parts = ",".join(names).split(mark)
        if len(parts) > 1 and any(meant_by(part.strip().strip('"')) == "prompt" for part in parts):
            reason = f"the columns are separated by {words}. Commas, semicolons and tabs are allowed; save it with one of these."
            raise ManifestError(uri, reason)


@contextlib.contextmanager
def cells_of_any_length(content: Spool) -> Iterator[None]:
    """Let the csv module read cells as long as the file: too long a one is a problem of its row, not of the file.

    The limit is the process's. It is raised for a moment only, and never lowered under another reader.
    """
    with _LIMIT_LOCK:
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, content.size + 1))
        try:
            yield
        finally:
            csv.field_size_limit(before)
