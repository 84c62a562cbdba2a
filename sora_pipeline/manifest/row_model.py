"""The typed row: each input column's rule, as one pydantic model."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from sora_pipeline.amounts import counted
from sora_pipeline.clip import Size
from sora_pipeline.manifest import cells
from sora_pipeline.manifest.cells import CellFault
from sora_pipeline.manifest.ids import MAX_ID_CHARS, take_id
from sora_pipeline.manifest.limits import DEFAULT_DURATION, DEFAULT_SIZE, MAX_TAKES, Limits, RowRules
from sora_pipeline.manifest.problems import either
from sora_pipeline.suggestions import nearest, nearest_size

IMAGE_RULE = "a path relative to the manifest's folder, a URL or an fsspec URI"


def _field(check: Callable[[Any, ValidationInfo], Any]) -> PlainValidator:
    """A pydantic validator that hands a cell's fault on as structured data."""

    def validate(value: Any, info: ValidationInfo) -> Any:
        try:
            return check(value, info)
        except CellFault as fault:
            context = {"fault": fault.fault, "allowed": fault.allowed, "suggestion": fault.suggestion}
            raise PydanticCustomError("cell", "{fault}; allowed: {allowed}", context) from None

    return PlainValidator(validate)


def _rules(info: ValidationInfo) -> RowRules:
    assert isinstance(info.context, RowRules)
    return info.context


def _model(value: Any, info: ValidationInfo) -> str:
    rules = _rules(info)
    name = cells.text(value, rules.models) or rules.default_model
    if name not in rules.limits:
        raise CellFault("is not a model of this provider", rules.models, nearest(name, [*rules.limits]))
    return name


def _limits(info: ValidationInfo) -> Limits | None:
    """The row's model's, None where the row's model is already reported as wrong: what no model can is wrong all the same."""
    model = info.data.get("model")
    return _rules(info).limits[model] if model is not None else None


def _duration(value: Any, info: ValidationInfo) -> int:
    limits, rules = _limits(info), _rules(info)
    durations = limits.durations if limits else rules.all_durations
    allowed = rules.durations[info.data["model"]] if limits else either([str(each) for each in durations])
    given = cells.seconds(value, allowed)
    seconds = DEFAULT_DURATION if given is None else given
    if seconds not in durations and (limits or given is not None):
        raise CellFault(_not_of(info, "a duration", DEFAULT_DURATION if given is None else None), allowed)
    return seconds


def _size(value: Any, info: ValidationInfo) -> Size:
    limits, rules = _limits(info), _rules(info)
    sizes = limits.sizes if limits else rules.all_sizes
    allowed = rules.sizes[info.data["model"]] if limits else either([str(each) for each in sizes])
    try:
        given = cells.frame_size(value, allowed)
    except CellFault as fault:
        raise CellFault(fault.fault, allowed, _size_near(value, sizes)) from None
    size = given or DEFAULT_SIZE
    if size not in sizes and (limits or given is not None):
        suggestion = "" if given is None else _size_near(str(given), sizes)
        raise CellFault(_not_of(info, "a size", DEFAULT_SIZE if given is None else None), allowed, suggestion)
    return size


def _size_near(written: Any, sizes: Sequence[Size]) -> str:
    return nearest_size(written, [str(size) for size in sizes])


def _not_of(info: ValidationInfo, what: str, default: object | None) -> str:
    model = info.data.get("model", "any model")
    return (
        f"is not {what} of {model}"
        if default is None
        else f"is blank, and {default} is not {what} of {model}"
    )


def _prompt(value: Any, info: ValidationInfo) -> str:
    limits = _limits(info)
    allowed = f"text of 1 to {limits.max_prompt_chars} characters" if limits else "text"
    prompt = cells.text(value, allowed)
    if prompt is None:
        raise CellFault("is blank", allowed)
    if limits and len(prompt) > limits.max_prompt_chars:
        raise CellFault(f"has {len(prompt):,} characters", allowed)
    return prompt


def _takes(value: Any, info: ValidationInfo) -> int:
    allowed = f"a whole number from 1 to {MAX_TAKES}"
    takes = cells.whole_number(value, allowed)
    if takes is None:
        return 1
    if not 1 <= takes <= MAX_TAKES:
        raise CellFault("is not a possible number of takes", allowed)
    return takes


def _clip_id(value: Any, info: ValidationInfo) -> str | None:
    written = cells.given_id(value)
    takes = info.data.get("takes", 1)
    if written and len(take_id(written, takes)) > MAX_ID_CHARS:
        max_chars = MAX_ID_CHARS - len(take_id("", takes))
        raise CellFault(f"is too long for {counted(takes, 'take')}", f"up to {max_chars} characters")
    return written


def _image(value: Any, info: ValidationInfo) -> str | None:
    return cells.text(value, IMAGE_RULE)


class ParsedRow(BaseModel):
    """A row that asks for something that can be made, as far as the row itself shows.

    The order of the fields matters: the model decides what the later ones may be, takes how long an id may be. Parameters are
    columns of their own, and added afterwards.

    Attributes:
        model: Who makes it, for example ``sora-2-pro`` or ``sora-2``.
        duration: Seconds, one of those that the model makes: 4, 8 or 12 for ``sora-2-pro``.
        size: Frame size in pixels, one of those that the model makes: ``720x1280``, ``1280x720``, and on ``sora-2-pro`` also
            ``1024x1792`` and ``1792x1024``.
        prompt: What is to be seen.
        takes: How many clips of this row.
        clip_id: Names the clip's partition and folder; letters, digits, ``_``, ``-``, ``.``.
        image: The first frame: a path relative to the manifest, a URL, or a URI (``s3://``, ``gs://``, ``abfs://``, ``hf://``, …);
            PNG, JPEG or WebP.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model: Annotated[str, _field(_model)]
    duration: Annotated[int, _field(_duration)]
    size: Annotated[Size, _field(_size)]
    prompt: Annotated[str, _field(_prompt)]
    takes: Annotated[int, _field(_takes)]
    clip_id: Annotated[str | None, _field(_clip_id)]
    image: Annotated[str | None, _field(_image)]
    parameters: dict[str, Any] = {}


READ_COLUMNS = tuple(name for name in ParsedRow.model_fields if name != "parameters")
"""The columns that it is made of."""
