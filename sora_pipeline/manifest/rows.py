"""Raw rows to checked rows: every problem of every row is found, not the first one only.

What a model can make comes in as a parameter; whether an image is any good is asked of somebody else.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from sora_pipeline.clip import Size
from sora_pipeline.manifest import cells
from sora_pipeline.manifest.bounds import MAX_CELL_CHARS
from sora_pipeline.manifest.cells import CellFault
from sora_pipeline.manifest.earlier import Earlier
from sora_pipeline.manifest.ids import derived_id, take_id
from sora_pipeline.manifest.limits import DEFAULT_DURATION, DEFAULT_SIZE, MAX_TAKES, RowRules
from sora_pipeline.manifest.problems import RowProblem, shown
from sora_pipeline.manifest.reading import RawRow
from sora_pipeline.manifest.row_model import READ_COLUMNS, ParsedRow
from sora_pipeline.manifest.row_parameters import Fault, parameters_of
from sora_pipeline.manifest.templates import filled, filled_before, has_fields

_BEYOND = "(beyond the last)"
_WHOLE_LINE = "(the whole line)"
_DECISIVE = ("prompt", "image", "duration", "size", "model", "parameters")
"""What an id is derived from."""
_TOLD = ("fault", "allowed", "suggestion")


@dataclass(frozen=True, slots=True)
class CheckedRow:
    """A row with what was found: either ``parsed`` or problems.

    Attributes:
        raw: The row as written.
        clip_id: The id of its first take; None where none can be derived.
        unusable_id: What the row gives for an id and may not be one; None: nothing.
        id_given: Whether the row gave the id itself.
        takes: How many clips it asks for, as far as that can be read.
        image: The image as written, and the size it is for; None where there is none or the row is too wrong to tell.
        parsed: The typed row; None where something is wrong with it.
        problems: Everything that is wrong with it.
        keeps_braces: Whether braces in its prompt are left as they are, since its clip was asked for like that before.
    """

    raw: RawRow
    clip_id: str | None
    id_given: bool
    takes: int
    image: tuple[str, Size] | None
    parsed: ParsedRow | None
    problems: tuple[RowProblem, ...] = ()
    keeps_braces: bool = False
    unusable_id: str | None = None

    def clip_ids(self) -> list[str]:
        """The ids of its takes; none where none can be derived."""
        if self.clip_id is None:
            return []
        return [take_id(self.clip_id, take) for take in range(1, self.takes + 1)]

    def ids_to_compare(self) -> list[str]:
        """The same, or what the row gives for one: two rows with the same mistake still have the same id when it is mended."""
        return self.clip_ids() if self.unusable_id is None else [self.unusable_id]


def check_row(raw: RawRow, rules: RowRules, earlier: Earlier) -> CheckedRow:
    """Check one row and find its id.

    Args:
        raw: The row.
        rules: What its values may be.
        earlier: What earlier readings found: a prompt with braces that was asked for as it stands is no template.
    """
    if raw.fault:
        return _rejected(raw, rules, [Fault(_WHOLE_LINE, None, raw.fault, "a JSON object with a prompt")], {})
    values = {name: raw.not_text.get(name, raw.values.get(name)) for name in READ_COLUMNS}
    unfit = [Fault(name, value, *fault) for name, value in raw.values.items() if (fault := _unfit(value))]
    keeps_braces = False
    unfilled: list[Fault] = []
    if type(prompt := values["prompt"]) is str and has_fields(prompt, raw.values):
        before = _asked_for_before(prompt, raw, rules, earlier)
        keeps_braces = before is not None
        if before is None:
            values["prompt"], unfilled = _filled(prompt, raw)
        else:
            values["prompt"] = before
    parameters, wrong_parameters = parameters_of(raw, rules)
    parsed, faults = _parsed(values, rules)
    if parsed is None or raw.surplus or unfit or unfilled or wrong_parameters:
        if unfilled:  # what is wrong with the template itself says nothing
            faults = [fault for fault in faults if fault.column != "prompt"]
        known = {fault.column for fault in faults}
        more = [fault for fault in (*unfit, *unfilled, *wrong_parameters) if fault.column not in known]
        return _rejected(raw, rules, [*faults, *more], parameters)
    if parameters:
        parsed = parsed.model_copy(update={"parameters": parameters})
    given = parsed.clip_id
    clip_id = given or derived_id(**{name: getattr(parsed, name) for name in _DECISIVE})
    image = (parsed.image, parsed.size) if parsed.image else None
    return CheckedRow(raw, clip_id, given is not None, parsed.takes, image, parsed, keeps_braces=keeps_braces)


def _parsed(values: Mapping[str, Any], rules: RowRules) -> tuple[ParsedRow | None, list[Fault]]:
    try:
        return ParsedRow.model_validate(values, context=rules), []
    except ValidationError as error:
        return None, [
            Fault(str(fault["loc"][0]), fault["input"], *map(fault["ctx"].__getitem__, _TOLD))
            for fault in error.errors()
        ]


def _filled(prompt: str, raw: RawRow) -> tuple[str, list[Fault]]:
    words, faults = filled(prompt, raw.values)
    return words, [Fault("prompt", prompt, each.fault, each.allowed, each.suggestion) for each in faults]


def _asked_for_before(prompt: str, raw: RawRow, rules: RowRules, earlier: Earlier) -> str | None:
    """The prompt with which a row's clip was asked for before although it has braces in it: filled as it is now, it would be paid for anew."""
    for words in (prompt, filled_before(prompt, raw.values)):
        if words is not None and _was_asked_for(words, raw, rules, earlier):
            return words
    return None


def _was_asked_for(words: str, raw: RawRow, rules: RowRules, earlier: Earlier) -> bool:
    """Whether the row's clip was asked for with just these words."""
    so = replace(raw, values={**raw.values, "prompt": words})
    try:
        clip_id, _ = _readable_id(so, rules, parameters_of(so, rules)[0])
        prompt = cells.text(words, "")
    except CellFault:
        return False
    return clip_id is not None and any(clip.prompt == prompt for clip in earlier.versions(clip_id))


def _unfit(value: Any) -> tuple[str, str] | None:
    """What is wrong with a cell of whichever column, and what is allowed."""
    if type(value) in (list, dict):
        value = json.dumps(value, ensure_ascii=False).replace("\\u0000", "\0")
    if type(value) is not str:
        return None
    if len(value) > MAX_CELL_CHARS:
        return f"has {len(value):,} characters", f"up to {MAX_CELL_CHARS:,} characters"
    return ("holds a NUL character", "text without NUL") if "\0" in value else None


def _rejected(raw: RawRow, rules: RowRules, faults: list[Fault], parameters: Mapping[str, Any]) -> CheckedRow:
    if raw.surplus:
        rest = ",".join(raw.surplus)
        quoting = "as many values as there are columns; put text that holds commas (or what else separates them) between double quotes"
        faults = [*faults, Fault(_BEYOND, rest, "has no column", quoting)]
    wrong = {fault.column for fault in faults}
    clip_id, given = (None, False) if "clip_id" in wrong else _readable_id(raw, rules, parameters)
    problems = tuple(
        RowProblem(
            raw.number,
            fault.column,
            shown(fault.value),
            fault.fault,
            fault.allowed,
            clip_id,
            suggestion=fault.suggestion,
        )
        for fault in faults
    )
    image = None if wrong & {"image", "size"} else _readable_image(raw)
    unusable = str(raw.values.get("clip_id") or "").strip() if "clip_id" in wrong else ""
    takes = _readable_takes(raw)
    return CheckedRow(raw, clip_id, given, takes, image, None, problems, unusable_id=unusable or None)


def _readable_id(raw: RawRow, rules: RowRules, parameters: Mapping[str, Any]) -> tuple[str | None, bool]:
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
        duration=readable("duration", cells.seconds, DEFAULT_DURATION),
        size=readable("size", cells.frame_size, DEFAULT_SIZE),
        model=readable("model", cells.text, rules.default_model),
        parameters=parameters,
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
