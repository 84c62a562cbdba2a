"""Manifests that nobody's program writes: each is read as what it says, or refused in words; nothing is made up."""

import json
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet, snapshot_to_parquet
from sora_pipeline_tests.manifest.conftest import load
from sora_pipeline_tests.manifest.written import files_of


def told(path: Path) -> Any:
    """The prompts that are made and the places of problems, or what the file is refused with."""
    try:
        snapshot = load(path)
    except ManifestError as refused:
        return refused.reason
    assert snapshot_from_parquet(snapshot_to_parquet(snapshot)) == snapshot
    assert all(files_of(snapshot, [], "prompts", stretch=1000).values())
    return [clip.prompt for clip in snapshot.clips], [problem.place for problem in snapshot.problems]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # mixed separators
        (b"prompt;duration\na;8\nb,4\n", "row 3"),
        (b"prompt,duration;x\na,8;y\n", (["a"], [])),
        (b"prompt\tduration\na\t8\nb;c\t4\n", (["a", "b;c"], [])),
        (b"prompt;Prompt,x\na;b,c\n", (["a"], [])),
        (b"prompt;x,Prompt\na;b,c\n", "commas and with semicolons"),
        # one column
        (b"prompt\na cat\n", (["a cat"], [])),
        (b"Prompt\r\na; b\r\n", (["a; b"], [])),
        (b"prompt\na, b\nc\n", (["c"], ["row 2"])),
        (b"PROMPT", "no rows"),
        # quotation marks
        (b'"prompt","duration"\n"a","8"\n', (["a"], [])),
        (b'"prompt";"Clip ID"\n"a ""b"";";x\n', (['a "b";'], [])),
        (b'"prompt;duration"\na;8\n', "no prompt column"),
        (b'"prompt\n', "double quotes"),
        (b'"prompt\nduration",prompt\nx,a\n', (["a"], [])),
        # byte order marks where none belongs
        (b"\xef\xbb\xbf\xef\xbb\xbfprompt,x\na,1\n", (["a"], [])),
        ("prompt,x\n\ufeffa,1\n".encode(), (["\ufeffa"], [])),
        ("prompt,x\na,1\n".encode("utf-16-le") + "\ufeff".encode("utf-16-le"), "UTF-16"),
        (b"\xff\xfe", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        # bytes that are no text
        (b"prompt,x\na\0b,1\nc,2\n", (["c"], ["row 2"])),
        (b"pro\0mpt,x\na,1\n", "no prompt column"),
        (b"prompt,\0\na,1\n", "NUL"),
        (b"\0" * 1000, "no prompt column"),
        (b"prompt\n\x1a", (["\x1a"], [])),
        (b"prompt\r\r\na\r\r\n", (["a"], [])),
        # names that are none, or too many alike
        (b",,\na,b,c\n", "no prompt column"),
        (b"prompt,,\na,b,c\n", (["a"], [])),
        (b"prompt,=cmd|' /C calc'!A0\na,b\n", (["a"], [])),
        (b"prompt," + b",".join(b"x%d" % n for n in range(1001)) + b"\na\n", "1,002 columns"),
        # a first line that says how to read the file, and lies
        (b"sep=,\nprompt;x\na;1\n", "no prompt column"),
        (b"sep=;\n", "empty"),
        (b"sep=\nprompt\na\n", "no prompt column"),
    ],
)
def test_a_hostile_csv_is_read_as_it_is_or_refused(tmp_path: Path, content: bytes, expected: Any) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    found = told(path)
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert found == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ({"prompt": "a", "": 1, "  ": 2}, "names a column twice"),
        ({"prompt": "a", "x" * 300: 1}, "300 characters"),
        ({"prompt": "a", "x\0": 1}, "NUL"),
        ({"prompt": "a", "video": 1}, "rename it"),
        ({"prompt": "a", "Prompt": "b"}, "slip"),
        ({"prompt": {"a": "b"}}, ([], ["line 1"])),
        ({"prompt": "a", "clip_id": {"a": 1}}, ([], ["line 1"])),
        ({"prompt": "a", "clip_id": 10**40}, (["a"], [])),
        ({"prompt": "a", "takes": 10**40}, ([], ["line 1"])),
        ({"prompt": "a", "duration": "8" * 5000}, ([], ["line 1"])),
        ({"prompt": "a", "x": 10**40}, (["a"], [])),
        ({"prompt": "a", "x": -0.0, "y": 5e-324}, (["a"], [])),
        ({"prompt": "{x}", "x": {"y": "z"}}, ([], ["line 1"])),
        ({"prompt": "{x}", "x": None}, ([], ["line 1"])),
        ({"prompt": "{x}", "x": True}, (["true"], [])),
        ({"prompt": "{a}{b}", "a": "{", "b": "b}"}, (["{b}"], [])),
        ({"prompt": "{__class__}"}, ([], ["line 1"])),
        ({"prompt": "{x.__class__} {x[0]} {x!r} {0} {:>9999999999}", "x": "y"}, None),
        ({"prompt": "a", "seed": 1}, ([], ["line 1"])),
    ],
)
def test_a_hostile_line_is_read_as_it_is_or_refused(
    tmp_path: Path, line: dict[str, Any], expected: Any
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(line))
    found = told(path)
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert found == (([line["prompt"]], []) if expected is None else expected)
