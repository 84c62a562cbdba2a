"""What can be wrong with a manifest: the file as a whole (one exception), or single rows (collected values)."""

from dataclasses import dataclass

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.uris import shown_uri, without_secrets

SHOWN_CHARS = 80
_ERROR_CHARS = 300


class ManifestError(SoraPipelineError):
    """The manifest as a whole cannot be used; nothing of it was taken.

    Attributes:
        uri: The file.
        reason: What is wrong, what is allowed and what to do, as sentences.
    """

    def __init__(self, uri: str, reason: str) -> None:
        super().__init__(f"{shown_uri(uri)}: {reason}")
        self.uri = shown_uri(uri)
        self.reason = without_secrets(reason)


@dataclass(frozen=True, slots=True)
class RowProblem:
    """One thing wrong with one row.

    Attributes:
        row_number: The first row below the header is 1.
        column: The column's name.
        value: What was written there, shortened; None where it was blank.
        fault: What is wrong with it, as a predicate: ``is not a duration of sora-2``.
        allowed: What would be right: ``4, 8 or 12``.
        clip_id: The row's id, where it has one.
        passing: Whether the row may be right all the same, and is taken when the manifest is read again.
        suggestion: What was probably meant; empty: nothing comes near.
        place: Where people find the row: ``row 14`` as a spreadsheet numbers it; empty in what earlier versions wrote.
    """

    row_number: int
    column: str
    value: str | None
    fault: str
    allowed: str
    clip_id: str | None = None
    passing: bool = False
    suggestion: str = ""
    place: str = ""

    @property
    def message(self) -> str:
        """The problem without its place."""
        subject = "the value" if self.value is None else f'"{self.value}"'
        if self.passing:
            return f"{subject} cannot be checked now: {self.fault.rstrip('. ')}; read the manifest again when that has passed"
        hint = f". Did you mean {self.suggestion}?" if self.suggestion else ""
        # What is wrong with an image is a sentence of its own.
        subject += ":" if self.fault[:1].isupper() else ""
        return f"{subject} {self.fault.rstrip('. ')}; allowed: {self.allowed}{hint}"

    @property
    def shown_place(self) -> str:
        """Where people find the row."""
        return self.place or f"row {self.row_number + 1}"

    @property
    def shown_number(self) -> int:
        """The number in that."""
        return number_in(self.shown_place)

    def sentence(self, file: str) -> str:
        """The whole sentence: file, row, clip id, column, value, and what is allowed."""
        clip = f" (clip {self.clip_id})" if self.clip_id else ""
        return f"{file}, {self.shown_place}{clip}, column {self.column}: {self.message}"


def number_in(place: str) -> int:
    """The number of ``row 14``."""
    return int(place.rpartition(" ")[2])


def shown(value: object) -> str | None:
    """A cell's value as an error shows it: one line, not too long, URIs without secrets; None for a blank."""
    text = "" if value is None else without_secrets(" ".join(str(value).split()))
    if not text:
        return None
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def brief(error: Exception) -> str:
    """What another library says of a damaged file: one line, not too long; some quote half of the file."""
    text = " ".join(str(error).split())
    return text if len(text) <= _ERROR_CHARS else f"{text[: _ERROR_CHARS - 1]}…"


def either(options: "list[str] | tuple[str, ...]") -> str:
    """``4, 8 or 12``."""
    if len(options) < 2:
        return "".join(options)
    return f"{', '.join(options[:-1])} or {options[-1]}"
