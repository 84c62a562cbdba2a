"""What is inside a workbook: a zip file of XML, looked through before a reader that trusts it unpacks it.

A few kB can declare 17 billion cells (one in each corner of a sheet), or name one long text a million times.
"""

import io
import re
import zipfile
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.etree import ElementTree as ET
from xml.parsers import expat

from sora_pipeline.manifest.bounds import (
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_ROWS,
    require_at_most,
    require_bytes,
)
from sora_pipeline.manifest.problems import ManifestError, either

_WORKBOOK, _RELATIONS, _TEXTS = "xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedStrings.xml"
_PARTS = ("[Content_Types].xml", "_rels/.rels", _WORKBOOK, _RELATIONS, _TEXTS, "xl/styles.xml")
_MAX_INDEX_BYTES = 16 * 2**20
_PLACE = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")
_SHOWN_CHARS = 32


class Merged(NamedTuple):
    """Cells that are merged over several rows.

    Attributes:
        reference: As people name them: ``C2:C4``.
        column: The first one, beginning with 1.
        first: Number of the first row.
        last: Of the last.
    """

    reference: str
    column: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """One sheet of a workbook.

    Attributes:
        name: Its name.
        others: The names of the other sheets.
        place: Which of them it is, as people count those that they see: ``the first``; empty: it was named.
        workbook: A workbook of that sheet alone, not compressed.
        lost: Cells with an error, or with a formula that has no result, by name.
        merged: Cells that are merged over several rows.
        hidden_rows: Rows that people do not see, by number.
    """

    name: str
    others: list[str]
    place: str
    workbook: bytes
    lost: list[str]
    merged: list[Merged]
    hidden_rows: set[int]


def sheet_of(uri: str, content: bytes, name: str | None) -> Sheet:
    """Look through one sheet of a workbook.

    What is returned is packed anew, since a zip file may unpack to more than its directory says, and a reader may take another
    part of it for the sheet than was looked through.

    Args:
        uri: The workbook.
        content: Its bytes.
        name: The sheet's name; None: the first that is not hidden.

    Raises:
        ManifestError: there is no such sheet, or it has more rows, columns, cells or text than is allowed.
        Exception: whatever a damaged workbook makes the parsers stumble over.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as workbook:
        found = _find(uri, workbook, name)
        part = found.part
        wanted = {each.lower() for each in (*_PARTS, part)}  # some programs write xl/SharedStrings.xml
        parts = {info.filename: info for info in workbook.infolist() if info.filename.lower() in wanted}
        if len({each.lower() for each in parts}) < len(parts):
            raise ValueError("two of its parts share a name")
        require_bytes(uri, sum(info.file_size for info in parts.values()), "its content unpacks to")
        unpacked = {each: _unpacked(workbook, info) for each, info in parts.items()}
    texts = _SharedTexts()
    for each in unpacked:
        if each.lower() == _TEXTS.lower():
            texts.read(unpacked[each])
    cells = _Cells(texts.lengths)
    cells.read(unpacked[part])
    require_at_most(uri, MAX_ROWS, cells.rows - 1, "rows, blank ones included")
    require_at_most(uri, MAX_COLUMNS, cells.columns, "columns, blank ones included")
    require_at_most(uri, MAX_CELLS, cells.rows * cells.columns, "cells, blank ones included")
    require_bytes(uri, cells.text_chars, "its texts take")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as repacked:
        for each, xml in unpacked.items():
            repacked.writestr(each, xml)
    return Sheet(
        found.name, found.others, found.place, out.getvalue(), cells.lost, cells.merged, cells.hidden_rows
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """A sheet, and the file of the workbook that holds it."""

    name: str
    part: str
    others: list[str]
    place: str


def _find(uri: str, workbook: zipfile.ZipFile, name: str | None) -> _Found:
    sheets = [element for element in _elements(uri, workbook, _WORKBOOK) if _local(element.tag) == "sheet"]
    names = [element.get("name", "") for element in sheets]
    if name is not None and name not in names:
        listed = either([f'"{each}"' for each in names])
        raise ManifestError(
            uri, f'there is no sheet "{name}" in this workbook. Name one that it has: {listed}.'
        )
    seen = [index for index, sheet in enumerate(sheets) if sheet.get("state", "visible") == "visible"] or [0]
    index = seen[0] if name is None else names.index(name)
    wanted = sheets[index]
    place = "" if name is not None else "the first" if len(seen) == len(sheets) else "the first visible one"
    relation = next(value for key, value in wanted.items() if _local(key) == "id")
    for element in _elements(uri, workbook, _RELATIONS):
        if element.get("Id") == relation:
            target = element.get("Target", "")
            part = target.removeprefix("/") if target.startswith("/") else f"xl/{target}"
            others = [each for number, each in enumerate(names) if number != index]
            return _Found(names[index], part, others, place)
    raise KeyError(relation)


def _elements(uri: str, workbook: zipfile.ZipFile, part: str) -> list[ET.Element]:
    info = workbook.getinfo(part)
    if info.file_size > _MAX_INDEX_BYTES:
        raise ManifestError(uri, f"{part} in it is too large. Write a workbook with fewer sheets and names.")
    return list(ET.fromstring(_unpacked(workbook, info)).iter())  # noqa: S314 - expat bounds entities


def _unpacked(workbook: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A part of a workbook, no more of it than the zip directory says: reading without a size unpacks all there is."""
    with workbook.open(info) as part:
        return part.read(info.file_size)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].rpartition(":")[2]


class _XmlReader:
    """Goes through XML element by element. Document types are refused: what they define could grow without end."""

    def read(self, xml: bytes) -> None:
        """Go through a whole document.

        Raises:
            expat.ExpatError: it is damaged.
            ValueError: it declares a document type.
        """
        parser = expat.ParserCreate()
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.characters
        parser.StartDoctypeDeclHandler = self._refuse
        parser.buffer_text = True
        parser.Parse(xml, True)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def end(self, tag: str) -> None:
        """An element ends."""

    def characters(self, text: str) -> None:
        """Text inside of elements."""

    def _refuse(self, *_: object) -> None:
        raise ValueError("it declares a document type")


class _SharedTexts(_XmlReader):
    """How long the texts are that cells name by their number."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if _local(tag) == "si":
            self.lengths.append(0)

    def characters(self, text: str) -> None:
        if self.lengths:
            self.lengths[-1] += len(text)


@dataclass
class _Cells(_XmlReader):
    """How far the cells of a sheet reach, and what they hold together.

    Attributes:
        lengths: Of the shared texts.
        rows: The number of the last row with a cell that has something in it.
        columns: That of the last column.
        text_chars: Characters of all cells, shared texts as often as they are named.
        lost: Names of the cells that have no result.
        merged: Cells that are merged over several rows.
        hidden_rows: Numbers of the rows that are not shown.
    """

    lengths: list[int]
    rows: int = 0
    columns: int = 0
    text_chars: int = 0
    lost: list[str] = field(default_factory=list)
    merged: list[Merged] = field(default_factory=list)
    hidden_rows: set[int] = field(default_factory=set)
    _row: int = 0
    _column: int = 0
    _cell: dict[str, str] = field(default_factory=dict)
    _chars: int = 0
    _shown: str = ""
    _formula: bool = False
    _filled: bool = False
    _inside: str = ""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = _local(tag)
        if name == "row":
            number = attributes.get("r", "")
            self._row = int(number) if number.isdecimal() else self._row + 1
            self._column = 0
            if attributes.get("hidden") in ("1", "true"):
                self.hidden_rows.add(self._row)
        elif name == "c":
            self._begin_cell(attributes)
        elif name == "mergeCell":
            self._note_merged(attributes.get("ref", ""))
        else:
            self._filled = True
            self._formula |= name == "f"
        self._inside = name

    def _begin_cell(self, attributes: dict[str, str]) -> None:
        place = _PLACE.fullmatch(attributes.get("r", ""))
        if place is None:
            self._column += 1
        else:
            self._row, self._column = int(place[2]), _column_number(place[1])
        self._cell, self._chars, self._shown = attributes, 0, ""
        self._formula = self._filled = False

    def _note_merged(self, reference: str) -> None:
        first, last = (_PLACE.fullmatch(place) for place in (*reference.split(":"), "", "")[:2])
        if first is not None and last is not None and int(last[2]) > int(first[2]):
            self.merged.append(Merged(reference, _column_number(first[1]), int(first[2]), int(last[2])))

    def characters(self, text: str) -> None:
        if self._inside in ("v", "t"):
            self._chars += len(text)
            if len(self._shown) < _SHOWN_CHARS:
                self._shown += text[:_SHOWN_CHARS]

    def end(self, tag: str) -> None:
        self._inside = ""
        if _local(tag) != "c":
            return
        kind = self._cell.get("t", "n")
        # calamine gives blanks for these, and a blank duration is paid for at the default. A text may be empty.
        if (kind == "e" or (kind == "n" and self._formula and not self._chars)) and "r" in self._cell:
            self.lost.append(self._cell["r"])
        if not self._filled:  # an empty cell that has a format; with an empty text in it, calamine counts it
            return
        self.rows, self.columns = max(self.rows, self._row), max(self.columns, self._column)
        self.text_chars += self._chars
        if kind == "s" and self._shown.strip().isdecimal():
            index = int(self._shown)
            self.text_chars += self.lengths[index] if index < len(self.lengths) else 0


def _column_number(letters: str) -> int:
    """3 for ``C``, 27 for ``AA``."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number
