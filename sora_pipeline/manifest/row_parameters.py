"""Further parameters of a row's model, which columns of their names set."""

from typing import Any, NamedTuple

from sora_pipeline.manifest import cells
from sora_pipeline.manifest.cells import CellFault
from sora_pipeline.manifest.limits import RowRules
from sora_pipeline.manifest.problems import either
from sora_pipeline.manifest.reading import RawRow
from sora_pipeline.manifest.table import is_blank


class Fault(NamedTuple):
    """What is wrong with a cell, and what is allowed there."""

    column: str
    value: Any
    fault: str
    allowed: str
    suggestion: str = ""


def parameters_of(raw: RawRow, rules: RowRules) -> tuple[dict[str, Any], list[Fault]]:
    """What a row sets, and what is wrong with that; nothing, where its model is unknown, which is wrong enough."""
    given = [
        name for name in rules.parameter_columns if name in raw.values and not is_blank(raw.values[name])
    ]
    if not given:
        return {}, []
    model = _model(raw, rules)
    if model is None or model not in rules.limits:
        return {}, []
    known = rules.limits[model].parameters
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for name in sorted(given):
        value = raw.values[name]
        if name not in known:
            allowed = (
                f"{either(sorted(known))}, or a blank"
                if known
                else f"a blank, since {model} has no further parameters"
            )
            faults.append(Fault(name, value, f"is for a parameter that {model} does not know", allowed))
            continue
        try:
            values[name] = known[name].read(value)
        except ValueError as fault:
            faults.append(Fault(name, value, str(fault), known[name].allowed))
    return values, faults


def _model(raw: RawRow, rules: RowRules) -> str | None:
    try:
        return cells.text(raw.values.get("model"), "") or rules.default_model
    except CellFault:
        return None
