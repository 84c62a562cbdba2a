"""Raw rows to checked rows: every problem of every row is found, not the first one only.

What a model can make comes in as a parameter; whether an image is any good is asked of somebody else.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sora_pipeline.clip import Size
from sora_pipeline.manifest import cells
from sora_pipeline.manifest.bounds import MAX_CELL_CHARS
from sora_pipeline.manifest.cells import CellFault
from sora_pipeline.manifest.ids import derived_id, take_id
from sora_pipeline.manifest.limits import DEFAULT_DURATION, DEFAULT_SIZE, MAX_TAKES, RowRules
from sora_pipeline.manifest.problems import RowProblem, shown
from sora_pipeline.manifest.reading import RawRow
from sora_pipeline.manifest.row_model import ParsedRow

_BEYOND = "(beyond the last)"


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row with what was found: either ``parsed`` or problems.

    Attributes:
        raw: The row as written.
        clip_id: The id of its first take; None where none can be derived.
        id_given: Whether the row gave the id itself.
        takes: How many clips it asks for, as far as that can be read.
        image: The image as written, and the size it is for; None where there is none or the row is too wrong to tell.
        parsed: The typed row; None where something is wrong with it.
        problems: Everything that is wrong with it.
    """

    raw: RawRow
    clip_id: str | None
    id_given: bool
    takes: int
    image: tuple[str, Size] | None
    parsed: ParsedRow | None
    problems: tuple[RowProblem, ...] = ()

    def clip_ids(self) -> list[str]:
        """The ids of its takes; none where none can be derived."""
        if self.clip_id is None:
            return []
        return [take_id(self.clip_id, take) for take in range(1, self.takes + 1)]


def check_row(raw: RawRow, rules: RowRules) -> CheckedRow:
    """Check one row and find its id."""
    values = {name: raw.not_text.get(name, raw.values.get(name)) for name in ParsedRow.model_fields}
    unfit = [(name, value, *fault) for name, value in raw.values.items() if (fault := _unfit(value))]
    try:
        parsed = ParsedRow.model_validate(values, context=rules)
    except ValidationError as error:
        faults = [
            (str(fault["loc"][0]), fault["input"], fault["ctx"]["fault"], fault["ctx"]["allowed"])
            for fault in error.errors()
        ]
        known = {column for column, *_ in faults}
        return _rejected(raw, rules, faults + [fault for fault in unfit if fault[0] not in known])
    if raw.surplus or unfit:
        return _rejected(raw, rules, unfit)
    given = parsed.clip_id
    clip_id = given or derived_id(
        prompt=parsed.prompt,
        image=parsed.image,
        duration=parsed.duration,
        size=parsed.size,
        model=parsed.model,
    )
    image = (parsed.image, parsed.size) if parsed.image else None
    return CheckedRow(raw, clip_id, given is not None, parsed.takes, image, parsed)


def _unfit(value: Any) -> tuple[str, str] | None:
    """What is wrong with a cell of whichever column, and what is allowed."""
    if type(value) in (list, dict):
        value = json.dumps(value, ensure_ascii=False).replace("\\u0000", "\0")
    if type(value) is not str:
        return None
    if len(value) > MAX_CELL_CHARS:
        return f"has {len(value):,} characters", f"up to {MAX_CELL_CHARS:,} characters"
    return ("holds a NUL character", "text without NUL") if "\0" in value else None


def _rejected(raw: RawRow, rules: RowRules, faults: list[tuple[str, Any, str, str]]) -> CheckedRow:
    if raw.surplus:
        rest = ",".join(raw.surplus)
        quoting = "as many values as there are columns; put text that holds commas between double quotes"
        faults = [*faults, (_BEYOND, rest, "has no column", quoting)]
    wrong = {column for column, *_ in faults}
    clip_id, given = (None, False) if "clip_id" in wrong else _readable_id(raw, rules)
    problems = tuple(
        RowProblem(raw.number, column, shown(value), fault, allowed, clip_id)
        for column, value, fault, allowed in faults
    )
    image = None if wrong & {"image", "size", "model"} else _readable_image(raw)
    return CheckedRow(raw, clip_id, given, _readable_takes(raw), image, None, problems)


def _readable_id(raw: RawRow, rules: RowRules) -> tuple[str | None, bool]:
    """The id of a row with something wrong: what can be read counts as usual, the rest as it is written."""
    given = cells.given_id(raw.values.get("clip_id"))
    if given is not None:
        return given, True
    prompt = raw.values.get("prompt")
    words = cells.text(prompt, "") if isinstance(prompt, str) and "\0" not in prompt else None
    if words is None:
        return None, False

    def readable(column: str, read: Callable[[Any, str], Any], default: object) -> object:
        value = raw.values.get(column)
        try:
            cell = read(value, "")
        except CellFault:
            return value
        return default if cell is None else cell

    image = readable("image", cells.text, None)
    derived = derived_id(
        prompt=words,
        image=None if image is None else str(image),
        duration=readable("duration", cells.whole_number, DEFAULT_DURATION),
        size=readable("size", cells.frame_size, DEFAULT_SIZE),
        model=readable("model", cells.text, rules.default_model),
    )
    return derived, False


def _readable_image(raw: RawRow) -> tuple[str, Size] | None:
    image = cells.text(raw.values.get("image"), "")
    return (image, cells.frame_size(raw.values.get("size"), "") or DEFAULT_SIZE) if image else None


def _readable_takes(raw: RawRow) -> int:
    try:
        takes = cells.whole_number(raw.values.get("takes"), "")
    except CellFault:
        return 1
    return takes if takes is not None and 1 <= takes <= MAX_TAKES else 1
