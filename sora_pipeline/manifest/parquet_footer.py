"""What a Parquet file says of its size, read from its footer before anything is decoded.

Read here and not by pyarrow, whose accessors for column chunks end the process where a damaged footer makes them throw (26.0.1).
The footer is Thrift's compact protocol: https://github.com/apache/parquet-format (``parquet.thrift``) and
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

MAX_FOOTER_BYTES = 4 * 2**20
_TAIL_BYTES = 8
"""The footer's length and the magic number."""
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_MAX_NESTED = 16
_FIXED_LENGTH = 7
"""Of the physical types, values that all have the length that the schema gives."""


@dataclass(frozen=True, slots=True)
class Footer:
    """How much a file holds, as it says.

    Attributes:
        rows: Of all row groups.
        columns: Those that hold values; the parts of records count each.
        values: Of all columns, nulls included; a list's items count each.
        unpacked_bytes: What the columns' pages take without compression, or values of a fixed length without a dictionary.
        depth: How many levels of the schema a column stands below at most; a list is two of them.
    """

    rows: int
    columns: int
    values: int
    unpacked_bytes: int
    depth: int


def footer_bytes(content: bytes) -> int:
    """How long the footer is, as the file says."""
    return int.from_bytes(content[-_TAIL_BYTES:-4], "little")


def read_footer(content: bytes) -> Footer:
    """Read the footer of a Parquet file.

    Raises:
        ValueError: there is no such footer.
    """
    length = footer_bytes(content)
    end = len(content) - _TAIL_BYTES
    if not 0 < length <= end:
        raise ValueError("it has no footer")
    try:
        footer = _Compact(content[end - length : end]).struct(0)
        leaves = list(_leaves(footer[2]))
        chunks = [
            (chunk[3], width)
            for group in footer.get(4, ())
            for chunk, (width, _) in zip(group[1], leaves, strict=True)
        ]
        return Footer(
            rows=max(footer[3], sum(group[3] for group in footer.get(4, ()))),
            columns=len(leaves),
            values=sum(meta[5] for meta, _ in chunks),
            unpacked_bytes=sum(max(meta[6], meta[5] * width) for meta, width in chunks),
            depth=max((depth for _, depth in leaves), default=0),
        )
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"its footer is damaged ({type(error).__name__})") from error


def _leaves(schema: list[Any]) -> Iterator[tuple[int, int]]:
    """The width of each column's values where it is fixed, else 0, and how deep in the schema it stands."""
    open_groups = [schema[0].get(5, 0)]
    for element in schema[1:]:
        while open_groups and not open_groups[-1]:
            open_groups.pop()
        open_groups[-1] -= 1
        if element.get(5):
            open_groups.append(element[5])
        else:
            yield element.get(2, 0) if element.get(1) == _FIXED_LENGTH else 0, len(open_groups)


class _Compact:
    """Thrift's compact protocol, structs as values by field number."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """The struct that begins here.

        Raises:
            ValueError: it is not well-formed, or says something twice, which readers understand differently.
        """
        if depth > _MAX_NESTED:
            raise ValueError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while header := self._byte():
            number = number + (header >> 4) if header >> 4 else self._zigzag()
            kind = header & 0x0F
            if number in fields:
                raise ValueError("its footer says something twice")
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _DOUBLE:
            return self._take(8)
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            header = self._byte()
            size = header >> 4 if header >> 4 != 0x0F else self._varint()
            return [self._value(header & 0x0F, depth + 1) for _ in range(size)]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise ValueError("its footer holds what no footer holds")

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _take(self, length: int) -> bytes:
        if self._at + length > len(self._content):
            raise IndexError(length)
        self._at += length
        return self._content[self._at - length : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("its footer holds a number without end")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
