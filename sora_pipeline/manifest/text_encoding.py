"""In which encoding a text file is: what its byte order mark says, else UTF-8, else what it cannot but be."""

import codecs
from dataclasses import dataclass

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.windows_1252 import is_windows_1252
from sora_pipeline.spool import CHUNK_BYTES, Spool

_FOREIGN = {
    b"PK\x03\x04": "this is an Excel workbook or zip file",
    b"\x1f\x8b": "this is gzip-compressed",
    b"\xff\xfe\0\0": "this is UTF-32 text",
    b"\0\0\xfe\xff": "this is UTF-32 text",
    b"\xd0\xcf\x11\xe0": "this is an old Excel workbook",
}
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_SAVE_AGAIN = 'save the file again as "CSV UTF-8"'


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a text file's bytes are its characters.

    Attributes:
        codec: Python's name; one that leaves a byte order mark out.
        name: As people are told of it; None: UTF-8, of which nobody is told.
        guessed: Whether only its letters speak for it; people are told how to be sure.
    """

    codec: str
    name: str | None = None
    guessed: bool = False


UTF_8 = Encoding("utf-8-sig")


def encoding_of(uri: str, content: Spool) -> Encoding:
    """The encoding of a whole file, every byte of it looked at.

    Raises:
        ManifestError: it is no text, or in none of the encodings that can be told apart with certainty.
    """
    begin = content.read(0, 4)
    for magic, what in _FOREIGN.items():
        if begin.startswith(magic):
            raise ManifestError(
                uri,
                f"{what}, not comma-separated UTF-8. Save it as CSV, or as an Excel workbook (.xlsx) or Parquet file "
                "with that extension.",
            )
    if begin.startswith(_UTF_16_MARKS):
        _require_decodable(uri, content, "utf-16", "UTF-16")
        return Encoding("utf-16", "UTF-16")
    if len(begin) > 1 and (begin[0] == 0) != (begin[1] == 0):
        reason = f"it seems to be UTF-16 text whose byte order mark is missing, so that it cannot be read with certainty; {_SAVE_AGAIN}."
        raise ManifestError(uri, reason)
    if not begin.startswith(codecs.BOM_UTF8) and _fault(content, "utf-8") and is_windows_1252(content):
        return Encoding("cp1252", "Windows-1252", guessed=True)
    _require_decodable(uri, content, "utf-8", "UTF-8")
    return UTF_8


def _require_decodable(uri: str, content: Spool, codec: str, name: str) -> None:
    fault = _fault(content, codec)
    if fault is None:
        return
    offset, line, byte = fault
    guess = (
        ""
        if name == "UTF-16" or content.read(0, 3) == codecs.BOM_UTF8
        else ", and it cannot be told with certainty in which of the older encodings the file is"
    )
    raise ManifestError(
        uri, f"line {line} is not {name} (byte 0x{byte:02x} at offset {offset}){guess}; {_SAVE_AGAIN}."
    )


def _fault(content: Spool, codec: str) -> tuple[int, int, int] | None:
    """Offset, line and value of the first byte that is not of an encoding; None: all are."""
    decoder = codecs.getincrementaldecoder(codec)()
    offset = lines = 0
    with content.open() as stream:
        while True:
            chunk = stream.read(CHUNK_BYTES)
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                # What was left of the chunk before stands before this one.
                begins = offset + len(chunk) - len(error.object)
                lines += error.object.count(b"\n", 0, error.start)
                return begins + error.start, lines + 1, error.object[error.start]
            if not chunk:
                return None
            offset += len(chunk)
            lines += chunk.count(b"\n")
