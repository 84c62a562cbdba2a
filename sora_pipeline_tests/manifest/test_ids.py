from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sora_pipeline.manifest.ids import derived_id, is_safe_id, slug, take_id
from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline_tests.manifest.conftest import WriteCsv, load, write_rows


def ids(path: Path) -> list[str]:
    return [clip.clip_id for clip in load(path).clips]


def clash(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        load(path)
    return caught.value.reason


def test_an_id_begins_with_the_prompts_first_words() -> None:
    assert slug("A cat, sleeping on the Ménage's roof") == "a-cat-sleeping-on-the"
    assert slug("一只猫在屋顶上") == "clip"
    assert slug("w" * 300) == "w" * 40


@given(prompt=st.text(), image=st.none() | st.text(), size=st.text(max_size=9))
def test_derived_ids_are_safe_for_any_prompt(prompt: str, image: str | None, size: str) -> None:
    made = derived_id(prompt=prompt, image=image, duration=4, size=size, model="m")
    assert is_safe_id(take_id(made, 100))
    assert not made.startswith(".")


@given(text=st.text(alphabet="aZ9_.-", max_size=8) | st.text(alphabet="a./\n ", max_size=4))
def test_a_safe_id_is_one_path_segment_and_no_partition_range(text: str) -> None:
    if not is_safe_id(text):
        return
    assert Path("videos", text).name == text
    assert ".." not in text
    assert text[0] not in ".-_"


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "prompt": st.sampled_from(["a cat", "a dog", "一只猫", "a cat on a roof"]),
            "duration": st.sampled_from(["", "4", "8"]),
            "size": st.sampled_from(["", "720x1280", "1280*720", "9x9"]),
            "image": st.sampled_from(["", "a.png"]),
            "takes": st.sampled_from(["", "1", "3"]),
        }
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, data=st.data())
def test_ids_do_not_depend_on_the_order_of_the_rows(
    tmp_path: Path, rows: list[dict[str, Any]], data: Any
) -> None:
    shuffled = data.draw(st.permutations(rows))
    try:
        before = load(write_rows(tmp_path / "a.csv", rows))
    except ManifestError:
        with pytest.raises(ManifestError):
            load(write_rows(tmp_path / "b.csv", shuffled))
        return
    after = load(write_rows(tmp_path / "b.csv", shuffled))
    by_id = {clip.clip_id: clip.fingerprint for clip in before.clips}
    assert by_id == {clip.clip_id: clip.fingerprint for clip in after.clips}
    assert {row.clip_id for row in before.invalid} == {row.clip_id for row in after.invalid}


def test_writing_a_default_out_changes_no_id(manifest: WriteCsv) -> None:
    plain = ids(manifest({"prompt": "a"}))
    for column, value in [
        ("duration", "4.0"),
        ("size", "720*1280"),
        ("model", "sora-2"),
        ("takes", "1"),
        ("x", "y"),
    ]:
        assert ids(manifest({"prompt": " a ", column: value})) == plain
    for column, value in [
        ("duration", "8"),
        ("size", "1280x720"),
        ("model", "sora-2-pro"),
        ("image", "a.png"),
    ]:
        assert ids(manifest({"prompt": "a", column: value})) != plain


def test_another_default_model_changes_only_ids_of_rows_that_name_none(manifest: WriteCsv) -> None:
    path = manifest({"prompt": "a"}, {"prompt": "b", "model": "sora-2"})
    before, after = load(path), load(path, default_model="sora-2-pro")
    assert before.clips[0].clip_id != after.clips[0].clip_id
    assert before.clips[1] == after.clips[1]


def test_takes_are_clips_of_their_own(manifest: WriteCsv) -> None:
    clips = load(manifest({"prompt": "a", "clip_id": "cat", "takes": "3"})).clips
    assert [(clip.clip_id, clip.take) for clip in clips] == [("cat", 1), ("cat-t2", 2), ("cat-t3", 3)]
    plain = ids(manifest({"prompt": "a"}))
    assert ids(manifest({"prompt": "a", "takes": "2"})) == [plain[0], f"{plain[0]}-t2"]


def test_rows_without_a_prompt_are_problems_of_their_own_not_duplicates(manifest: WriteCsv) -> None:
    snapshot = load(manifest({"prompt": "", "x": "1"}, {"prompt": "", "x": "2"}))
    assert [row.clip_id for row in snapshot.invalid] == [None, None]


def test_an_id_leaves_room_for_its_takes(manifest: WriteCsv) -> None:
    snapshot = load(manifest({"prompt": "a", "clip_id": "x" * 98, "takes": "2"}))
    assert snapshot.problems[0].message.endswith("for 2 takes; allowed: up to 97 characters")
    assert len(ids(manifest({"prompt": "a", "clip_id": "x" * 97, "takes": "2"}))) == 2
