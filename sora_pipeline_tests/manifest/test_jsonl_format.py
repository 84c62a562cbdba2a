"""JSON Lines: typed values, one object a line, and lines that are none as problems of their rows."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet, snapshot_to_parquet
from sora_pipeline_tests.manifest.conftest import load


def load_lines(tmp_path: Path, *lines: str | bytes, name: str = "m.jsonl") -> Snapshot:
    path = tmp_path / name
    path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
    return load(path)


@pytest.mark.parametrize("name", ["m.jsonl", "m.ndjson", "M.JSONL"])
def test_rows_are_objects_and_their_values_keep_their_types(tmp_path: Path, name: str) -> None:
    snapshot = load_lines(
        tmp_path,
        b'\xef\xbb\xbf{"prompt": "a fox", "duration": 8, "tags": ["x", "y"], "deep": {"a": 1}}',
        "",
        '{"clip_id": 7, "Prompt": null, "prompt": "an owl \\u732b", "score": 0.5}'.replace(
            '"Prompt": null, ', ""
        ),
        name=name,
    )
    assert [(clip.prompt, clip.duration, clip.row_number) for clip in snapshot.clips] == [
        ("a fox", 8, 1),
        ("an owl 猫", 4, 3),
    ]
    assert snapshot.clips[0].carried == {"tags": ["x", "y"], "deep": {"a": 1}, "score": None}
    assert snapshot.clips[1].clip_id == "7"
    assert snapshot.understanding.sentences == []


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[1, 2]", "is not an object"),
        ('"text"', "is not an object"),
        ('{"prompt": "a"', "is not JSON"),
        ('{"prompt": "a"} {"prompt": "b"}', "is not JSON"),
        ('{"prompt": "a", "prompt": "b"}', "names a column twice"),
        ('{"prompt": "a", " prompt": "b"}', "names a column twice"),
        ('{"prompt": "a", "x": NaN}', "holds NaN"),
        ('{"prompt": "a", "x": -Infinity}', "holds -Infinity"),
        ('{"prompt": "a", "x": 1e999}', "too large"),
        ('{"prompt": "a", "x": ' + "9" * 5000 + "}", "a number is too long"),
        ('{"prompt": "a", "x": ' + "[" * 20 + "]" * 20 + "}", "nested deeper"),
        ('{"prompt": "a", "x": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested"),
        ('{"prompt": "a \\ud800"}', "half a character"),
    ],
)
def test_a_line_that_is_no_row_is_a_problem_of_its_row(tmp_path: Path, line: str, words: str) -> None:
    snapshot = load_lines(tmp_path, '{"prompt": "fine"}', line, '{"prompt": "fine, too"}')
    assert [clip.prompt for clip in snapshot.clips] == ["fine", "fine, too"]
    [problem] = snapshot.problems
    sentence = problem.sentence("m.jsonl")
    assert sentence.startswith("m.jsonl, line 2, column (the whole line): ")
    assert words in sentence
    assert snapshot_from_parquet(snapshot_to_parquet(snapshot)) == snapshot


@pytest.mark.parametrize(
    ("value", "column"),
    [
        ({"text": "x"}, "prompt"),
        (["x"], "size"),
        (True, "clip_id"),
        (3.5, "duration"),
        (10**30, "takes"),
        ("a\0b", "note"),
    ],
)
def test_values_of_other_types_are_problems_of_their_columns(tmp_path: Path, value: Any, column: str) -> None:
    snapshot = load_lines(tmp_path, json.dumps({"prompt": "a", column: value}), '{"prompt": "fine"}')
    assert [problem.column for problem in snapshot.problems] == [column]
    assert len(snapshot.clips) == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.jsonl", b'[\n{"prompt": "a"},\n{"prompt": "b"}\n]', "each in a line of its own"),
        ("m.jsonl", b'{\n"prompt"\n:\n"a"\n}', "each in a line of its own"),
        ("m.jsonl", b'{"text": "a"}\n', "no prompt column"),
        ("m.jsonl", b"{}\n{}\n", "no prompt column"),
        ("m.jsonl", '{"prompt": "a"}\n'.encode("utf-16"), "UTF-8"),
        ("m.jsonl", b'{"prompt": "' + b"x" * (9 << 20) + b'"}', "8 MiB"),
        ("m.jsonl", b'{"Prompt": "a"}\n{"prompt": "b"}\n', "slip"),
        ("m.jsonl", b"\n".join(b'{"prompt": "a", "c%d": 1}' % n for n in range(1001)), "1,001 columns"),
        ("m.json", b'[{"prompt": "a"}]', ".jsonl"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_words(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as refused:
        load(tmp_path / name)
    assert words in refused.value.reason


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["prompt", "clip_id", "image", "duration", "size", "model", "takes", "x", "seed", "status", ""]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.dictionaries(NAMES, VALUES), min_size=1, max_size=4))
def test_any_objects_are_read_or_refused_in_words(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    lines = [json.dumps({"prompt": "a fox", **row}) for row in rows]
    with contextlib.suppress(ManifestError):
        snapshot = load_lines(tmp_path, *lines)
        assert snapshot.clips or snapshot.invalid
        assert snapshot_from_parquet(snapshot_to_parquet(snapshot)) == snapshot
        for problem in snapshot.problems:
            assert len(problem.sentence("m")) < 1500
