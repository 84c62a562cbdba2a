"""``export``: delivered videos under names of one's own, none of them over what is there."""

import csv
import json
from pathlib import Path

import pytest

from sora_pipeline.advice import explained
from sora_pipeline.clip import Clip, Size
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.export_names import ExportError, FileNames, folded
from sora_pipeline.production.exporting import export
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.cli.test_commands import invoke
from sora_pipeline_tests.conftest import PROMPTS, Producer, keys, settings_of
from sora_pipeline_tests.production.test_publishing import make

pytestmark = pytest.mark.anyio


def clip(**carried: object) -> Clip:
    return Clip("fox", 7, "a fox", None, None, "sora-2", True, 4, Size(720, 1280), 1, carried)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{clip_id}.mp4", "fox.mp4"),
        ("{clip_id}", "fox.mp4"),
        ("{campaign}/{row_number:03}-{clip_id}", "spring/007-fox.mp4"),
        ("{model} {size} {duration}s", "sora-2 720x1280 4s.mp4"),
        ("{{{clip_id}}}", "{fox}.mp4"),
    ],
)
def test_names_are_made_from_a_template(template: str, name: str) -> None:
    assert FileNames(template, ["campaign"]).of("p", clip(campaign="spring")) == name


@pytest.mark.parametrize(
    "value", ["../../etc", "a/b", "..", ".hidden", "a\\b:c*?", "x" * 500, "é" * 300, " . ", ""]
)
def test_no_value_leads_anywhere_else(value: str) -> None:
    name = FileNames("{campaign}/{campaign}-{clip_id}", ["campaign"]).of("p", clip(campaign=value))
    assert ".." not in Path(name).parts
    assert len(Path(name).parts) <= 2
    assert all(len(part.encode()) <= 255 and not part.startswith(".") for part in Path(name).parts)
    assert name.endswith(".mp4")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("con", "_con"),
        ("NUL.tar.gz", "_NUL.tar.gz"),
        ("nul .x", "_nul .x"),
        ("CoM1", "_CoM1"),
        ("lpt²", "_lpt²"),
        ("conin$", "_conin$"),
        ("com", "com"),
        ("com10", "com10"),
        ("console", "console"),
        ("a. . ", "a"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u212b", "\u00c5"),
        ("<\u0338", "\u226e"),
    ],
)
def test_names_are_those_of_files_on_every_system(value: str, name: str) -> None:
    made = FileNames("{campaign}/{campaign}", ["campaign"]).of("p", clip(campaign=value))
    assert made == f"{name}/{name}.mp4"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Fox", "fOX"), ("caf\u00e9", "CAFE\u0301"), ("straße", "STRASSE"), ("\u1e69", "S\u0307\u0323")],
)
def test_names_that_some_system_takes_for_the_same_are_alike(one: str, other: str) -> None:
    assert folded(one) == folded(other)
    assert folded(one) != folded(f"{other}-2")


@pytest.mark.parametrize(
    "template",
    [
        "{nobody}",
        "{clip_id.__class__}",
        "{clip_id[0]}",
        "{0}",
        "{",
        "{clip_id!x}",
        "{prompt:{size}}",
        "",
        " ./",
    ],
)
def test_template_of_anything_else_is_refused(template: str) -> None:
    with pytest.raises(ExportError):
        FileNames(template, ["campaign"]).of("p", clip())


async def test_delivered_videos_go_out_once_and_nothing_is_overwritten(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    rows = [
        {"clip_id": each, "prompt": prompt, "campaign": "=spring"}
        for each, prompt in (("a", "a fox"), ("b", "an owl"), ("c", "[sandbox:policy] a bear"))
    ]
    made = production(rows)
    await make(run_context, "a", "b", "c")
    ledger, out = run_context.ledger, tmp_path / "exported"
    assert publish(ledger, PROMPTS, settings_of(), "me") is not None
    (out / "=spring").mkdir(parents=True)
    (out / "=spring" / "b.mp4").write_bytes(b"mine")
    done = export(ledger, made, settings_of(), str(out), names="{campaign}/{clip_id}")
    assert (done.copied, done.in_the_way) == (["=spring/a.mp4"], ["=spring/b.mp4"])
    assert (out / "=spring" / "b.mp4").read_bytes() == b"mine"
    (found,) = (tmp_path / "out" / PROMPTS / "videos" / "a").glob("*.mp4")
    assert (out / "=spring" / "a.mp4").read_bytes() == found.read_bytes()
    with (out / f"{PROMPTS}-export.csv").open(newline="", encoding="utf-8-sig") as file:
        table = list(csv.DictReader(file))
    assert [row["clip_id"] for row in table] == ["a"], "another's file is no video of ours"
    assert table[0]["campaign"] == "'=spring"
    again = export(ledger, made, settings_of(), str(out), names="{campaign}/{clip_id}", table="jsonl")
    assert (again.copied, again.present) == ([], ["=spring/a.mp4"])
    lines = (out / f"{PROMPTS}-export.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0])["campaign"] == "=spring"
    assert not (out / ".staging").exists()
    with pytest.raises(ExportError, match=r"clips a and b would both be same\.mp4"):
        export(ledger, made, settings_of(), str(tmp_path / "other"), names="same")
    assert not list((tmp_path / "other").glob("*.mp4"))
    for inside in ("", "/videos/mine"):
        with pytest.raises(ExportError, match="in the output of the production prompts"):
            export(ledger, made, settings_of(), f"{made.output_uri}{inside}")
    b = next((tmp_path / "out" / PROMPTS / "videos" / "b").glob("*.mp4"))
    picked = tmp_path / "picks.csv"
    picked.write_text(
        f"production,clip_id,pick,note,file_name\n{PROMPTS},a,good,,videos/a/another.mp4\n"
        f"{PROMPTS},b,good,,videos/b/{Path(b).name}\nother,b,good,,videos/b/1.mp4\n"
    )
    only = invoke("export", str(tmp_path / "only"), "--picks", str(picked))
    assert (only.exit_code, [each.name for each in (tmp_path / "only").glob("*.mp4")]) == (0, ["b.mp4"])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / f"{PROMPTS}-export.csv").write_text("clip_id,prompt\nmine,a fox\n")
    with pytest.raises(ExportError, match="is no table of an export"):
        export(ledger, made, settings_of(), str(tmp_path / "taken"))
    assert [each.name for each in (tmp_path / "taken").iterdir()] == [f"{PROMPTS}-export.csv"]
    assert invoke("export", "").exit_code == 2
    assert invoke("export", str(tmp_path / "x"), "--picks", "").exit_code == 2
    by_command = invoke("export", str(tmp_path / "by-command"), "--names", "{clip_id}", "--json")
    said = json.loads(by_command.stdout)["productions"][PROMPTS]
    assert (by_command.exit_code, said["copied"], said["in_the_way"]) == (0, 2, [])
    (tmp_path / "link").symlink_to(made.output_uri)
    out_of = Path(made.output_uri).parent
    for target, names in (
        (tmp_path / "link", "{clip_id}"),
        (out_of, "{production}/{clip_id}"),
        (out_of, "{production}/videos/{clip_id}/x"),
    ):
        with pytest.raises(ExportError, match=r"in the output of the production prompts.*Nothing was copied"):
            export(ledger, made, settings_of(), str(target), names=names)


async def test_names_that_would_be_one_file_elsewhere_are_refused_or_in_the_way(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    columns = {
        "a": ("Caf\u00e9", "y.mp4", "x"),
        "b": ("CAFE\u0301", "", "Y"),
    }
    rows = [
        {"clip_id": each, "prompt": f"a {each}", "title": title, "folder": folder, "file": file}
        for each, (title, folder, file) in columns.items()
    ]
    made = production(rows)
    await make(run_context, *columns)
    ledger, out = run_context.ledger, tmp_path / "exported"
    assert publish(ledger, PROMPTS, settings_of(), "me") is not None
    with pytest.raises(
        ExportError, match=r"clips a and b would be Caf\u00e9\.mp4 and CAF\u00c9\.mp4, which are the same"
    ):
        export(ledger, made, settings_of(), str(out), names="{title}")
    with pytest.raises(
        ExportError, match=r"Y\.mp4 would be the video of the clip b, and the folder of the clip a"
    ):
        export(ledger, made, settings_of(), str(out), names="{folder}/{file}")
    assert not list(out.rglob("*.mp4"))
    (video,) = (tmp_path / "out" / PROMPTS / "videos" / "b").glob("*.mp4")
    (out / "Clips").mkdir(parents=True)
    (out / "Clips" / "A.MP4").write_bytes(b"of another production")
    (out / "Clips" / "B.mp4").write_bytes(video.read_bytes())
    done = export(ledger, made, settings_of(), str(out), names="clips/{clip_id}")
    assert (done.copied, done.in_the_way, done.present) == ([], ["Clips/A.MP4"], ["Clips/B.mp4"])
    assert "Clips/B.mp4" in (out / done.table).read_text("utf-8-sig"), "the table names files that are there"


async def test_ids_that_differ_only_in_case_lose_no_video_over_readings_and_productions(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    """Within one manifest they are problems of their rows; here one takes the other's place, and stands in another production."""
    ledger, names = run_context.ledger, ("Fox", "fox", "FOX")
    for clip_id, name in zip(names, (PROMPTS, PROMPTS, "other"), strict=True):
        production(
            [{"clip_id": clip_id, "prompt": f"{clip_id} runs", "duration": "8" if name == "other" else "4"}],
            file=f"{name}.csv",
        )
        wanted = keys(clip_id, production=name)
        await ensure_predictions(run_context, wanted, batch_id=run_context.owner, may_begin=True)
        await collect_videos(run_context, wanted, resume_timed_out=True)
        assert publish(ledger, name, settings_of(), "me") is not None
    files = [str(path.relative_to(tmp_path)) for path in (tmp_path / "out" / PROMPTS).rglob("*.mp4")]
    assert len({folded(each) for each in files}) == len(files) == 2, "no folder of theirs overwrites another"
    done = invoke("export", str(tmp_path / "exported"), "--json")
    productions = json.loads(done.stdout)["productions"]
    assert done.exit_code == 1
    assert sorted(each["copied"] for each in productions.values()) == [0, 1]
    assert {name for each in productions.values() for name in each["in_the_way"]} <= {"fox.mp4", "FOX.mp4"}
    assert "--names '{production}/{clip_id}.mp4'" in invoke("export", str(tmp_path / "exported2")).stderr
    apart = invoke("export", str(tmp_path / "apart"), "--names", "{production}/{clip_id}")
    assert apart.exit_code == 0
    assert {path.name for path in (tmp_path / "apart").rglob("*.mp4")} == {"fox.mp4", "FOX.mp4"}


async def test_names_that_python_would_look_up_in_values_are_columns_or_refused(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    odd = {"-": "dash", "0": "zero", "clip_id.x": "dotted", "Brand Name": "Fox & Co"}
    made = production([{"clip_id": "a", "prompt": "a fox", **odd}])
    await make(run_context, "a")
    ledger = run_context.ledger
    assert publish(ledger, PROMPTS, settings_of(), "me") is not None
    names = "{0}-{clip_id.x}-{-}-{brand name:.3}"
    assert export(ledger, made, settings_of(), str(tmp_path / "a"), names=names).copied == [
        "zero-dotted-dash-Fox.mp4"
    ]
    for refused in ("{}", "{clip_id.y}", "{clip_id[0]}", "{clip_id:>9000000000000000000}", "{clip_id:{-}}"):
        with pytest.raises(ExportError):
            export(ledger, made, settings_of(), str(tmp_path / "b"), names=refused)
    assert not list((tmp_path / "b").glob("*.mp4"))


async def test_column_that_one_manifest_lacks_is_refused_before_anything_is_copied(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    for name, column in (("monday", "campaign"), ("tuesday", "channel")):
        production([{"clip_id": "a", "prompt": f"a fox on {name}", column: "x"}], file=f"{name}.csv")
        await ensure_predictions(run_context, [f"{name}:a"], batch_id=run_context.owner, may_begin=True)
        await collect_videos(run_context, [f"{name}:a"], resume_timed_out=True)
        assert publish(run_context.ledger, name, settings_of(), "me") is not None
    refused = invoke("export", str(tmp_path / "x"), "--names", "{campaign}/{clip_id}")
    assert isinstance(refused.exception, ExportError)
    said = explained(refused.exception)
    assert "holds {campaign}, which is no column that the manifest of the production tuesday" in said
    assert "{channel}" in said
    assert "say with --production which productions are meant: monday can be named so" in said
    assert not (tmp_path / "x").exists()
    slip = invoke("export", str(tmp_path / "x"), "--production", "monday", "--names", "{campain}")
    assert "Did you mean campaign?" in str(slip.exception)
    done = invoke("export", str(tmp_path / "x"), "--production", "monday", "--names", "{campaign}/{clip_id}")
    assert done.exit_code == 0
    assert (tmp_path / "x" / "x" / "a.mp4").is_file()


def test_export_of_nothing(production: Producer, home: Path, tmp_path: Path) -> None:
    from sora_pipeline_tests.conftest import rows_of

    production(rows_of(a="a fox"))
    assert "nothing is delivered" in invoke("export", str(tmp_path / "x")).stdout
    refused = invoke("export", str(tmp_path / "x"), "--production", PROMPTS)
    assert "no delivered clip" in str(refused.exception)
