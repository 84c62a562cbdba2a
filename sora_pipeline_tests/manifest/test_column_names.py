"""Headers as people write them: taken where they can mean one column only, refused where they leave a doubt."""

from pathlib import Path

import pytest

from sora_pipeline.manifest.problems import ManifestError
from sora_pipeline.manifest.reading import read_manifest


def columns(tmp_path: Path, header: str) -> tuple[str, ...]:
    path = tmp_path / "m.csv"
    path.write_text(f"{header}\n" + ",".join("a" for _ in header.split(",")) + "\n", "utf-8")
    return read_manifest(str(path)).columns


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Prompt,Clip ID,DURATION,clip-note", ("prompt", "clip_id", "duration", "clip-note")),
        ("PROMPT,ClipId,Negative Prompt,Seed", ("prompt", "clip_id", "negative_prompt", "seed")),
        ("prompt,clip id,clip_id", ("prompt", "clip id", "clip_id")),
        ("prompt,My Project,TAGS", ("prompt", "My Project", "TAGS")),
        ("\ufeffprompt,x", ("prompt", "x")),
        ("prompt,seeds", ("prompt", "seeds")),
    ],
)
def test_names_mean_what_they_can_only_mean_and_others_are_kept(
    tmp_path: Path, header: str, expected: tuple[str, ...]
) -> None:
    assert columns(tmp_path, header) == expected


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("prompt,seconds,ID,Aspect Ratio", {"seconds": "duration", "ID": "clip_id", "Aspect Ratio": "size"}),
        ("prompt,lenght,druation", {"lenght": "duration", "druation": "duration"}),
        ("prompt,Resolution,img,variants", {"Resolution": "size", "img": "image", "variants": "takes"}),
        ("prompt,duration,seconds,clip_id,id,Size,aspect", {}),
        ("prompt,campaign,channel,note,title,name,scene,product,language,market", {}),
        ("prompt,text,description", {}),
    ],
)
def test_columns_that_are_called_nearly_as_others_that_are_not_there_are_told_of(
    tmp_path: Path, header: str, meant: dict[str, str]
) -> None:
    path = tmp_path / "m.csv"
    path.write_text(f"{header}\n" + ",".join("a" for _ in header.split(",")) + "\n", "utf-8")
    file = read_manifest(str(path))
    assert file.understanding.lookalikes == meant
    instead = {"duration": ", and every clip is 4 s long", "size": ", and every clip is 720x1280"}
    told = [
        f'the column "{name}" is carried through as it is{instead.get(it, "")}; did you mean "{it}"?'
        for name, it in meant.items()
    ]
    assert [each for each in file.understanding.sentences if "carried" in each] == told
    assert set(meant) <= set(file.columns), "nothing is taken for it"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Prompt,PROMPT", ['"Prompt", "PROMPT"', 'mean "prompt"']),
        ("prompt,Clip ID,ClipID", ['"Clip ID", "ClipID"', '"clip_id"']),
        ("prompt,Duration,duration", ['"Duration"', "slip"]),
        ("prompt,durations", ['"durations"', "paid"]),
        ("id,Text", ['Rename "Text" to "prompt"']),
        ("prompt,Status", ['"Status"', "rename"]),
    ],
)
def test_doubts_are_refused(tmp_path: Path, header: str, words: list[str]) -> None:
    with pytest.raises(ManifestError) as refused:
        columns(tmp_path, header)
    assert all(word in refused.value.reason for word in words), refused.value.reason
