"""Prompts that are filled from their row, and braces that are none of that."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.earlier import NothingEarlier
from sora_pipeline.manifest.templates import escaped, filled, has_fields
from sora_pipeline_tests.manifest.conftest import WriteCsv, load

ROW = {"prompt": "", "color": "red", "Product Name": "Shoe", "n": 3, "blank": " ", "tags": ["x"]}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A {color} car", "A red car"),
        ("{Color}, {product_name}, {Product Name}, {n}", "red, Shoe, Shoe, 3"),
        ("{{color}} and {color}", "{color} and red"),
        ("{{{color}}}", "{red}"),
        ("{{{{color}}}}", "{{color}}"),
        ("{color}}", "red}"),
        ("{{unknown}}", "{unknown}"),
        ('{"scene": {"mood": "calm"}, "n": 1}', '{"scene": {"mood": "calm"}, "n": 1}'),
        ("{{Hero Product}} and {{ hero }}", "{Hero Product} and { hero }"),
        ("{ } {} { a, b } {1} {1 a} {a: b} {a.b} {{ 7 }}", "{ } {} { a, b } {1} {1 a} {a: b} {a.b} {{ 7 }}"),
        ("{\ncolor\n}", "{\ncolor\n}"),
        ("no braces", "no braces"),
    ],
)
def test_columns_in_braces_are_filled_and_everything_else_is_left(prompt: str, expected: str) -> None:
    assert filled(prompt, ROW) == (expected, [])
    assert has_fields(prompt, ROW) or prompt == expected


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("{colour}", ["names no column", "{color}", "{{colour}}"]),
        ("{prompt}", ["names no column"]),
        ("{Product Nmae}", ["{Product Nmae}", "names no column", "{Product Name}", "{{Product Nmae}}"]),
        ("{ close-up of a shoe }", ["names no column", "{{ close-up of a shoe }}"]),
        ("{blank}", ["nothing in that column"]),
        ("{tags}", ["a list"]),
    ],
)
def test_a_name_that_cannot_be_filled_is_a_fault(prompt: str, words: list[str]) -> None:
    as_written, [found] = filled(prompt, ROW)
    assert as_written == prompt
    said = f"{found.fault} {found.allowed}"
    assert all(word in said for word in words), said


def test_each_name_is_a_fault_and_a_prompt_full_of_them_is_not_all_told() -> None:
    assert [fault.fault.split()[1] for fault in filled("{x1} {color} {x2} {x1}", ROW)[1]] == ["{x1}", "{x2}"]
    many = " ".join(f"{{x{number}}}" for number in range(20_000))
    assert len(filled(many, ROW)[1]) == 5


def test_the_nearest_column_is_suggested(manifest: WriteCsv) -> None:
    [problem] = load(manifest({"prompt": "A {colour} car", "color": "red"})).problems
    assert problem.message.endswith("Did you mean {color}?")
    [problem] = load(manifest({"prompt": "A {Prodct Name}", "Product Name": "shoe"})).problems
    assert problem.message.endswith("Did you mean {Product Name}?")


def test_what_is_filled_in_is_not_filled_once_more(manifest: WriteCsv) -> None:
    [clip] = load(manifest({"prompt": "{a}", "a": "{b}", "b": "{a}"})).clips
    assert clip.prompt == "{b}"


def test_a_prompt_that_fills_up_memory_is_a_problem_of_its_row(manifest: WriteCsv) -> None:
    snapshot = load(manifest({"prompt": "{a}" * 40_000, "a": "x" * 130_000}, {"prompt": "fine", "a": ""}))
    assert [clip.prompt for clip in snapshot.clips] == ["fine"]
    assert "once it is filled" in snapshot.problems[0].message


@pytest.mark.parametrize("hostile", ["{" * 131_000, "{a b" * 30_000, "{a" * 60_000, "{x y}" * 26_000])
def test_braces_in_masses_take_no_time(manifest: WriteCsv, hostile: str) -> None:
    load(manifest({"prompt": hostile, **{f"column {n}": "x" for n in range(900)}}))


@settings(max_examples=1000, deadline=None)
@given(
    prompt=st.lists(
        st.sampled_from([*"{}{}{}", "color", "a", " ", "\n", "Product Name", "x"]), max_size=14
    ).map("".join)
)
def test_what_is_escaped_comes_back_as_it_was(prompt: str) -> None:
    assert filled(escaped(prompt, ROW), ROW) == (prompt, [])


def test_rows_that_are_filled_differently_are_different_clips(manifest: WriteCsv) -> None:
    path = manifest({"prompt": "A {color} car", "color": "red"}, {"prompt": "A {color} car", "color": "blue"})
    snapshot = load(path)
    assert [clip.prompt for clip in snapshot.clips] == ["A red car", "A blue car"]
    written_out = load(manifest({"prompt": "A red car"}, {"prompt": "A blue car"}, name="other.csv"))
    assert [clip.clip_id for clip in snapshot.clips] == [clip.clip_id for clip in written_out.clips]
    assert [clip.fingerprint for clip in snapshot.clips] == [clip.fingerprint for clip in written_out.clips]


class Asked(NothingEarlier):
    """An earlier reading in which prompts were asked for just as they are written."""

    def __init__(self, *prompts: str) -> None:
        self.prompts = prompts

    def versions(self, clip_id: str) -> Sequence[Clip]:
        return [
            Clip(clip_id, 1, prompt, None, None, "sora-2", True, 4, Size(720, 1280))
            for prompt in self.prompts
        ]

    def paid(self, clip_ids: Collection[str]) -> bool:
        return True


class AskedAs(NothingEarlier):
    """An earlier reading in which just this clip was asked for."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip

    def versions(self, clip_id: str) -> Sequence[Clip]:
        return [self.clip] if clip_id == self.clip.clip_id else []


@pytest.mark.parametrize(
    "prompt", ["a {curly} sign", "a {{curly}} sign", "a {note} sign", "a {curly sign}", "a {{ curly }} sign"]
)
def test_a_prompt_that_was_asked_for_with_its_braces_stays_as_it_was(
    tmp_path: Path, manifest: WriteCsv, prompt: str
) -> None:
    path = manifest({"clip_id": "sign", "prompt": prompt, "note": "x"})
    kept = load(path, earlier=Asked(prompt))
    assert [clip.prompt for clip in kept.clips] == [prompt]
    assert any("braces" in sentence for sentence in kept.understanding.sentences)
    assert [clip.prompt for clip in load(path).clips] != [prompt]


@pytest.mark.parametrize(
    ("prompt", "before"),
    [
        ("a {color} car, {as in a dream}", "a red car, {as in a dream}"),
        ("a {color} car, {{as in a dream}}", "a red car, {{as in a dream}}"),
        ("a {{curly}} sign, {as in a dream}", "a {curly} sign, {as in a dream}"),
    ],
)
@pytest.mark.parametrize("row", [{"clip_id": "car"}, {}])
def test_a_prompt_that_was_filled_while_several_words_in_braces_were_left_stays_as_it_was(
    manifest: WriteCsv, prompt: str, before: str, row: dict[str, str]
) -> None:
    """By the id that it was asked for under, too."""
    path = manifest({**row, "prompt": prompt, "color": "red"})
    [written_out] = load(manifest({**row, "prompt": before}, name="was.csv"), earlier=Asked(before)).clips
    [kept] = load(path, earlier=AskedAs(written_out)).clips
    assert (kept.clip_id, kept.fingerprint) == (written_out.clip_id, written_out.fingerprint)
    assert [clip.prompt for clip in load(path).clips] != [before]
