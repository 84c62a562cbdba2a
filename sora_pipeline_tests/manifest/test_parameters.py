"""Columns that set parameters of models: typed, part of what a clip is, and refused where the model does not know them."""

import json
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.manifest.limits import ModelLimits
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet, snapshot_to_parquet
from sora_pipeline.parameter import Parameter, ParameterType
from sora_pipeline_tests.manifest.conftest import LIMITS, TALL, WriteCsv, load

KNOWN = {
    "negative_prompt": Parameter(ParameterType.TEXT, max_chars=20),
    "seed": Parameter(ParameterType.INTEGER, 0, 2147483647),
    "strength": Parameter(ParameterType.NUMBER, 0, 1),
    "loop": Parameter(ParameterType.BOOLEAN),
    "style": Parameter(ParameterType.TEXT, choices=("anime", "general")),
}
WITH = {**LIMITS, "wan": ModelLimits((4, 8), (TALL,), 200, KNOWN)}


@pytest.mark.parametrize(
    ("column", "written", "value"),
    [
        ("seed", "42", 42),
        ("seed", " 42,0 ", 42),
        ("seed", "42.00", 42),
        ("strength", "0,5", 0.5),
        ("strength", "1", 1.0),
        ("loop", "TRUE", True),
        ("negative_prompt", " blur, text ", "blur, text"),
        ("style", "anime", "anime"),
    ],
)
def test_a_parameter_is_typed_and_its_column_carried_as_well(
    manifest: WriteCsv, column: str, written: str, value: Any
) -> None:
    snapshot = load(manifest({"prompt": "a", "model": "wan", column: written}), limits=WITH)
    [clip] = snapshot.clips
    assert clip.parameters == {column: value}
    assert type(clip.parameters[column]) is type(value)
    assert clip.carried == {column: written}
    assert snapshot.understanding.parameters == (column,)
    assert list(snapshot_from_parquet(snapshot_to_parquet(snapshot)).clips) == [clip]


@pytest.mark.parametrize(
    ("column", "written", "fault", "allowed"),
    [
        ("seed", "-1", "out of its range", "0 up to 2147483647"),
        ("seed", "1.5", "is not a whole number", "a whole number"),
        ("seed", "1,000", "is not a whole number", "a whole number"),
        ("seed", "9" * 30, "is not a whole number", "a whole number"),
        ("strength", "nan", "is not a number", "a number from 0 up to 1"),
        ("strength", "1e3", "is not a number", "a number"),
        ("loop", "maybe", "neither true nor false", "true or false"),
        ("negative_prompt", "x" * 21, "has 21 characters", "up to 20"),
        ("style", "oil", "is not one of its values", "anime, general"),
    ],
)
def test_a_value_that_is_not_allowed_is_a_problem_of_its_row(
    manifest: WriteCsv, column: str, written: str, fault: str, allowed: str
) -> None:
    [problem] = load(manifest({"prompt": "a", "model": "wan", column: written}), limits=WITH).problems
    assert problem.column == column
    assert fault in problem.fault
    assert allowed in problem.allowed


def test_a_model_that_does_not_know_a_parameter_refuses_the_row(manifest: WriteCsv) -> None:
    rows = [
        {"prompt": "a", "model": "sora-2", "seed": "1", "style": "", "mood": "calm"},
        {"prompt": "b", "model": "wan", "seed": "1", "style": "anime", "mood": "calm"},
        {"prompt": "c", "model": "sora-2", "seed": " ", "style": "", "mood": "calm"},
        {"prompt": "d", "model": "sora-2", "seed": "", "style": "anime", "mood": "calm"},
    ]
    snapshot = load(manifest(*rows), limits=WITH)
    assert [clip.prompt for clip in snapshot.clips] == ["b", "c"]
    assert [(problem.column, problem.message) for problem in snapshot.problems] == [
        (
            "seed",
            '"1" is for a parameter that sora-2 does not know; allowed: a blank, since sora-2 has no further parameters',
        ),
        (
            "style",
            '"anime" is for a parameter that sora-2 does not know; allowed: a blank, since sora-2 has no further parameters',
        ),
    ]
    some = {**LIMITS, "sora-2": ModelLimits((4,), (TALL,), 200, {"seed": KNOWN["seed"]})}
    [problem] = load(manifest({"prompt": "a", "Negative Prompt": "blur"}), limits=some).problems
    assert problem.allowed == "seed, or a blank"


def test_parameters_are_part_of_what_a_clip_is_only_where_there_are_any(manifest: WriteCsv) -> None:
    rows = [{"prompt": "a", "model": "wan", "seed": seed} for seed in ("", "1", "2")]
    none, one, two = load(manifest(*rows), limits=WITH).clips
    plain = load(manifest({"prompt": "a", "model": "wan"}), limits=WITH).clips[0]
    assert none.fingerprint == plain.fingerprint
    assert none.clip_id == plain.clip_id
    assert len({none.fingerprint, one.fingerprint, two.fingerprint}) == 3
    assert len({none.clip_id, one.clip_id, two.clip_id}) == 3


def test_hostile_values_are_problems_and_never_more(tmp_path: Path) -> None:
    values: list[Any] = [["x"], {"a": 1}, True, 10**40, -1, 2**63, "a\0b", "x" * 200_000, 1.5]
    lines = [json.dumps({"prompt": "a", "model": "wan", "seed": value}) for value in values]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    snapshot = load(tmp_path / "m.jsonl", limits=WITH)
    assert not snapshot.clips
    assert len(snapshot.invalid) == len(values)
