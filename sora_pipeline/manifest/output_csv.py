"""The failed rows as a manifest to mend and hand in again."""

from array import array
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.manifest.carried import as_text
from sora_pipeline.manifest.columns import INPUT_COLUMNS
from sora_pipeline.manifest.csv_file import CsvFile, records
from sora_pipeline.manifest.output import OutputAbout, OutputRow, reasons_of
from sora_pipeline.manifest.snapshot import InvalidRow
from sora_pipeline.manifest.table import COMMA, is_blank
from sora_pipeline.manifest.templates import escaped
from sora_pipeline.manifest.uris import beside
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import CANCELLED, ClipStatus

_FAILED_COLUMNS = ("clip_id", *(name for name in INPUT_COLUMNS if name != "clip_id"))


class FailedCsv:
    """The rows that failed or were invalid, with what went wrong, as an input manifest.

    One row per clip, under the id that it is reported by, so that a mended row takes the place of the failed one; the
    production that it amends is named in every row. Braces in prompts are doubled, since they are filled by now. Images are absolute, so that the file can be handed in from any
    folder. ``error_message`` is dropped when the file is read, and apostrophes before formulas are taken off again.
    Ambiguous clips may have been paid for, so that handing the file in must not send them again: they are left out, and so are
    those that a person cancelled. So are rows that share an id: handed in by itself, one would be taken for the other, or for a new
    clip; whose id it is, the manifest must say.

    Args:
        path: The file; it has the rows in the order of their numbers when this is closed.
        about: What all rows have in common.
        delimiter: Between columns, as in the manifest: what a person opens that with opens this.

    Raises:
        OSError: it cannot be written; so do the methods.
    """

    def __init__(self, path: Path, about: OutputAbout, delimiter: str = COMMA) -> None:
        self._path, self._about = path, about
        header = ["production", *_FAILED_COLUMNS, *about.carried, "error_message"]
        self._file = CsvFile(path, header, bom=True, delimiter=delimiter)
        self._numbers = array("q")

    def __enter__(self) -> "FailedCsv":
        return self

    def __exit__(self, error: object, *_: object) -> None:
        with self._file:
            pass
        if error is None:
            self._bring_in_order()

    def add(self, rows: Sequence[OutputRow]) -> None:
        """Take those of some rows that failed or are invalid."""
        cells = []
        for subject, standing in rows:
            if isinstance(subject, InvalidRow) and subject.shares_its_id:
                continue
            if isinstance(subject, InvalidRow):
                assert isinstance(standing, str)
                cells.append(_invalid_cells(subject, standing, self._about))
            elif isinstance(standing, ClipOutcome) and _is_to_mend(standing):
                cells.append(_clip_cells(subject, standing, self._about))
            else:
                continue
            self._numbers.append(subject.row_number)
        self._file.write(list(zip(*cells, strict=True)))

    def _bring_in_order(self) -> None:
        """Rows that were amended may have come later than they stand."""
        numbers = self._numbers
        if all(before <= after for before, after in pairwise(numbers)):
            return
        starts = array("q")
        with self._path.open("rb") as file:
            end = 0
            for record in records(file):
                starts.append(end)
                end += len(record)
        starts.append(end)
        ordered = self._path.with_name(f"ordered-{self._path.name}")
        with self._path.open("rb") as file, ordered.open("wb") as target:
            for place in [0, *(place + 1 for place in sorted(range(len(numbers)), key=numbers.__getitem__))]:
                file.seek(starts[place])
                target.write(file.read(starts[place + 1] - starts[place]))
        ordered.replace(self._path)


def _is_to_mend(outcome: ClipOutcome) -> bool:
    return outcome.status is ClipStatus.FAILED and outcome.error_kind != CANCELLED


def _clip_cells(clip: Clip, outcome: ClipOutcome, about: OutputAbout) -> list[str | None]:
    # Its prompt is filled, and filled once more when the file is handed in.
    prompt = escaped(clip.prompt, (*_FAILED_COLUMNS, *about.carried))
    requested = [prompt, clip.image, str(clip.duration), str(clip.size), clip.model, None]
    return [
        about.production,
        clip.clip_id,
        *requested,
        *_carried(clip.carried, about),
        outcome.error_message,
    ]


def _invalid_cells(bad: InvalidRow, reported_id: str, about: OutputAbout) -> list[str | None]:
    values = {**bad.values, "clip_id": reported_id}
    image = values.get("image")
    if isinstance(image, str) and not is_blank(image):
        values["image"] = beside(about.manifest_uri, image.strip())
    written = [csv_cell(values.get(name)) for name in _FAILED_COLUMNS]
    return [about.production, *written, *_carried(values, about), reasons_of(bad)]


def _carried(values: Mapping[str, Any], about: OutputAbout) -> list[str | None]:
    return [csv_cell(values.get(name)) for name in about.carried]


def csv_cell(value: Any) -> str | None:
    """A value that is no number as a cell: booleans true/false, times ISO 8601 with Z, lists JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return as_text(value)
