"""failed.csv, mended and handed in: just these rows change, they stand until the campaign's own do, and no file is lost."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from sora_pipeline.advice import explained
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.earlier_readings import EarlierReadings
from sora_pipeline.production.intake import amendable, open_production, read_snapshot
from sora_pipeline.production.naming import ProductionNameError, ProductionRequest
from sora_pipeline.production.ownership import OWNER
from sora_pipeline.production.publishing import is_published, publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline_tests.conftest import (
    Producer,
    Sandbox,
    ids,
    keys,
    other_run,
    refusal,
    settings_of,
    standing,
    write_manifest,
)

pytestmark = pytest.mark.anyio

CAMPAIGN = [
    {"clip_id": "good", "prompt": "a fox", "size": "", "takes": "", "project": "x"},
    {"clip_id": "bad", "prompt": "[sandbox:policy] an owl", "size": "", "takes": "", "project": "y"},
    {"clip_id": "waiting", "prompt": "a bear", "size": "", "takes": "", "project": ""},
    {"clip_id": "wrong", "prompt": "a wolf", "size": "1x1", "takes": "", "project": "z"},
    {"clip_id": "", "prompt": "", "size": "", "takes": "", "project": "nothing to be seen"},
]
NAMELESS = "row-0a4fd86a"
"""The id that the row without one is reported under, wherever it stands."""
INVALID = {"wrong", NAMELESS}


def row_of(ledger: Ledger, clip_id: str) -> str:
    return standing(ledger, clip_id, "monday").clip.prompt


def shown(made: Production) -> dict[str, dict[str, Any]]:
    return {row["clip_id"]: row for row in pq.read_table(f"{made.output_uri}/metadata.parquet").to_pylist()}


def rows_in(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


def failed_files(made: Production) -> list[str]:
    return sorted(path.name for path in Path(made.output_uri).glob("failed*"))


def mended(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [
        {**row, "prompt": row["prompt"].replace("[sandbox:policy]", "mended") or "a lynx", "size": "720x1280"}
        for row in rows
    ]


def publish_now(ledger: Ledger, made: Production) -> dict[str, dict[str, Any]]:
    assert publish(ledger, made.production_id, settings_of(), "publisher") is not None
    return shown(made)


async def make(run_context: RunContext, *clip_ids: str, owner: str = "run-1") -> None:
    context, wanted = other_run(run_context, owner), keys(*clip_ids, production="monday")
    await ensure_predictions(context, wanted, batch_id=owner, may_begin=True)
    await collect_videos(context, wanted, resume_timed_out=False)


@pytest.fixture
async def campaign(run_context: RunContext, production: Producer) -> Production:
    """One clip delivered, one refused, one waiting, two rows invalid; published."""
    made = production(CAMPAIGN, file="monday.csv")
    await make(run_context, "good", "bad")
    publish_now(run_context.ledger, made)
    assert {row["clip_id"] for row in rows_in(Path(made.output_uri) / "failed.csv")} == {"bad", *INVALID}
    return made


def test_rows_to_mend_are_separated_as_the_manifest_is(
    ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    """A spreadsheet that writes semicolons reads no other."""
    manifest = tmp_path / "montag.csv"
    manifest.write_text(
        "clip_id;prompt;duration;note\ngood;a fox;8,0;\nbad;an owl, and; no; more;5;\n".replace(
            "an owl, and; no; more", '"an owl, and; no; more"'
        )
    )
    made = production.read(manifest)
    publish_now(ledger, made)
    failed = Path(made.output_uri) / "failed.csv"
    content = failed.read_bytes()
    assert content.startswith("\ufeffproduction;clip_id;prompt;".encode())
    assert b';bad;"an owl, and; no; more";' in content
    failed.write_bytes(content.replace(b";5;", b";8,0;"))
    again = production.read(failed)
    assert again.production_id == made.production_id
    assert set(ledger.clips.pending(3, made.production_id)) == set(
        keys("good", "bad", production=made.production_id)
    )


# ---- however the file comes back


def in_place(failed: Path, production: Producer) -> Path:
    return write_manifest(failed, mended(rows_in(failed)))


def as_a_copy(failed: Path, production: Producer) -> Path:
    (production.folder / "desktop").mkdir()
    return write_manifest(production.folder / "desktop" / "monday.csv", mended(rows_in(failed)))


def as_excel_saves_it(failed: Path, production: Producer) -> Path:
    """With a byte order mark, carriage returns, other columns first, quotes only where needed, and blank rows at the end."""
    rows = mended(rows_in(failed))
    columns = sorted(rows[0], reverse=True)
    path = production.folder / "Kopie von failed.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows[::-1])
        stream.write("," * (len(columns) - 1) + "\r\n")
    return path


def as_a_workbook(failed: Path, production: Producer) -> Path:
    path = production.folder / "failed.xlsx"
    pd.DataFrame(mended(rows_in(failed))).to_excel(path, index=False)
    return path


def as_parquet(failed: Path, production: Producer) -> Path:
    path = production.folder / "failed.parquet"
    pd.DataFrame(mended(rows_in(failed))).to_parquet(path)
    return path


@pytest.mark.parametrize("given", [in_place, as_a_copy, as_excel_saves_it, as_a_workbook, as_parquet])
async def test_mended_rows_take_the_place_of_just_these(
    campaign: Production,
    run_context: RunContext,
    production: Producer,
    sandbox: Sandbox,
    given: Callable[[Path, Producer], Path],
) -> None:
    ledger = run_context.ledger
    path = given(Path(campaign.output_uri) / "failed.csv", production)
    content = path.read_bytes()
    again = production.read(path)
    assert (again.production_id, again.manifest_uri, again.output_uri) == (
        "monday",
        campaign.manifest_uri,
        campaign.output_uri,
    )
    assert [each.production_id for each in ledger.productions.all()] == ["monday"]
    assert ids(ledger.clips.pending(3, "monday")) == ["bad", "waiting", "wrong", NAMELESS]
    assert row_of(ledger, "bad") == "mended an owl"
    assert row_of(ledger, "good") == "a fox"
    clip = standing(ledger, "bad", "monday").clip
    assert (clip.row_number, dict(clip.carried)) == (2, {"project": "y"})
    rows = publish_now(ledger, campaign)
    assert {clip_id: row["status"] for clip_id, row in rows.items()} == {
        "good": "delivered",
        "bad": "pending",
        "waiting": "pending",
        "wrong": "pending",
        NAMELESS: "pending",
    }
    assert {clip_id: row["row_number"] for clip_id, row in rows.items()} == {
        "good": 1,
        "bad": 2,
        "waiting": 3,
        "wrong": 4,
        NAMELESS: 5,
    }
    assert rows["good"]["cost_usd"] == 1.2
    await make(run_context, "good", "bad", "waiting", "wrong", NAMELESS, owner="run-2")
    rows = publish_now(ledger, campaign)
    assert {row["status"] for row in rows.values()} == {"delivered"}
    assert path.read_bytes() == content, "the file a person edited is theirs"
    assert sandbox.billed == 5
    assert sandbox.billed_for("sandbox:policy") == 0
    assert sandbox.billed_for("mended an owl") == 1


async def test_the_campaign_read_again_submits_the_mended_prompts_not_the_old(
    campaign: Production, run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    production.read(in_place(Path(campaign.output_uri) / "failed.csv", production))
    production(CAMPAIGN, file="monday.csv")
    assert row_of(ledger, "bad") == "mended an owl"
    assert ids(ledger.clips.pending(3, "monday")) == ["bad", "waiting", "wrong", NAMELESS]
    await make(run_context, "bad", "wrong", NAMELESS, owner="run-2")
    for _ in range(2):
        production(CAMPAIGN, file="monday.csv")
        assert ids(ledger.clips.pending(3, "monday")) == ["waiting"]
    rows = publish_now(ledger, campaign)
    assert {clip_id for clip_id, row in rows.items() if row["status"] == "delivered"} == {
        "good",
        "bad",
        "wrong",
        NAMELESS,
    }
    assert sandbox.bill()["duplicates"] == []
    assert sandbox.billed == 4


async def test_an_amended_row_stands_until_the_campaigns_own_changes(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    production.read(in_place(Path(campaign.output_uri) / "failed.csv", production))
    changed = [dict(row) for row in CAMPAIGN]
    changed[2]["prompt"] = "a red bear"
    production(changed, file="monday.csv")
    assert (row_of(ledger, "bad"), row_of(ledger, "waiting")) == ("mended an owl", "a red bear")
    changed[1]["prompt"] = "another owl"
    production(changed, file="monday.csv")
    assert row_of(ledger, "bad") == "another owl"
    assert row_of(ledger, "wrong") == "a wolf"
    changed[3] |= {"size": "1280x720", "prompt": "a grey wolf"}
    production(changed, file="monday.csv")
    assert row_of(ledger, "wrong") == "a grey wolf"
    assert shown_invalid(ledger, campaign) == [], "the nameless row is as it was mended"
    production(CAMPAIGN, file="monday.csv")
    assert row_of(ledger, "bad") == "[sandbox:policy] an owl", "what was dropped does not come back"
    assert set(shown_invalid(ledger, campaign)) == {"wrong"}


async def test_an_amended_row_without_an_id_may_move(
    campaign: Production, run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    """Rows that are inserted above it, or its like below it, do not have it paid again."""
    ledger = run_context.ledger
    production.read(in_place(Path(campaign.output_uri) / "failed.csv", production))
    await make(run_context, NAMELESS, owner="run-2")
    above = [{"clip_id": f"new-{number}", "prompt": f"a cat {number}"} for number in range(2)]
    production([*above, *CAMPAIGN, CAMPAIGN[-1]], file="monday.csv")
    assert row_of(ledger, NAMELESS) == "a lynx"
    assert NAMELESS not in ids(ledger.clips.pending(3, "monday"))
    assert shown_invalid(ledger, campaign) == [f"{NAMELESS}-2"]
    assert sandbox.billed_for("a lynx") == 1


async def test_an_amended_row_that_the_campaign_takes_out_is_wanted_no_more(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    production.read(in_place(Path(campaign.output_uri) / "failed.csv", production))
    production(CAMPAIGN[:1] + CAMPAIGN[2:3], file="monday.csv")
    assert ids(ledger.clips.standings_of("monday")) == ["good", "waiting"]


def shown_invalid(ledger: Ledger, made: Production) -> list[str]:
    return [clip_id for clip_id, row in publish_now(ledger, made).items() if row["status"] == "invalid"]


async def test_a_row_that_is_still_wrong_stays_invalid_and_the_others_are_amended(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    failed = Path(campaign.output_uri) / "failed.csv"
    rows = mended(rows_in(failed))
    rows[2]["size"] = "3x3"
    production.read(write_manifest(failed, rows))
    assert shown_invalid(run_context.ledger, campaign) == [NAMELESS]
    failed_now = rows_in(Path(campaign.output_uri) / "failed-2.csv")
    assert [row["clip_id"] for row in failed_now] == [NAMELESS]
    production.read(write_manifest(production.folder / "again.csv", mended(failed_now)))
    assert shown_invalid(run_context.ledger, campaign) == []


async def test_rows_may_be_mended_twice(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    ledger, failed = run_context.ledger, Path(campaign.output_uri) / "failed.csv"
    rows = mended(rows_in(failed))
    production.read(write_manifest(failed, rows))
    rows[0]["prompt"] = "[sandbox:policy] once more"
    production.read(write_manifest(failed, rows))
    assert row_of(ledger, "bad") == "[sandbox:policy] once more"
    rows[0]["prompt"] = "at last"
    production.read(write_manifest(failed, rows))
    production(CAMPAIGN, file="monday.csv")
    assert row_of(ledger, "bad") == "at last", "the campaign's own row is what it was"
    assert ids(ledger.clips.pending(3, "monday")) == ["bad", "waiting", "wrong", NAMELESS]


async def test_a_file_handed_in_as_it_is_changes_nothing(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    production.read(Path(campaign.output_uri) / "failed.csv")
    production.read(Path(campaign.output_uri) / "failed.csv")
    assert ids(ledger.clips.pending(3, "monday")) == ["waiting"]
    assert standing(ledger, "bad", "monday").status(3) == "failed"
    assert set(shown_invalid(ledger, campaign)) == INVALID


async def test_a_stranger_row_is_left_out_with_its_id(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    ledger, failed = run_context.ledger, Path(campaign.output_uri) / "failed.csv"
    rows = [*mended(rows_in(failed)), {**rows_in(failed)[0], "clip_id": "stranger", "prompt": "who"}]
    rows.append({**rows_in(failed)[0], "clip_id": "", "prompt": "nameless"})
    path = write_manifest(failed, rows)
    intake = open_production(ledger, settings_of(), "", ProductionRequest(str(path)))
    assert intake.decided.amends
    amends, strangers = amendable(
        read_snapshot(
            intake.file,
            settings_of(),
            load_catalogue(),
            explained,
            EarlierReadings(ledger, intake.decided),
        ),
        intake.decided,
        ledger,
    )
    assert [clip.clip_id for clip in amends] == ["bad", "wrong", NAMELESS]
    assert strangers[0] == "stranger"
    assert strangers[1].startswith("nameless-")
    production.read(path)
    assert ids(ledger.clips.standings_of("monday")) == ["good", "bad", "waiting", "wrong", NAMELESS]


async def test_takes_of_a_mended_row_are_clips_each(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    """An invalid row that asks for two takes is one row while it is invalid, and two clips when it is mended."""
    rows = [
        {"clip_id": "a", "prompt": "a fox", "size": "", "takes": ""},
        {"clip_id": "twice", "prompt": "an owl", "size": "1x1", "takes": "2"},
        {"clip_id": "", "prompt": "", "size": "", "takes": "2"},
    ]
    made = production(rows, file="monday.csv")
    ledger = run_context.ledger
    publish_now(ledger, made)
    production.read(in_place(Path(made.output_uri) / "failed.csv", production))
    nameless = "row-12ded082"
    wanted = ["a", "twice", "twice-t2", nameless, f"{nameless}-t2"]
    for _ in range(2):
        assert ids(ledger.clips.standings_of("monday")) == wanted
        assert shown_invalid(ledger, made) == []
        assert [standing(ledger, each, "monday").clip.take for each in wanted] == [1, 1, 2, 1, 2]
        production(rows, file="monday.csv")
    rows[1]["size"] = "1280x720"
    production(rows, file="monday.csv")
    assert ids(ledger.clips.standings_of("monday")) == wanted
    assert str(standing(ledger, "twice-t2", "monday").clip.size) == "1280x720", "the campaign's own row again"


async def test_a_failed_take_is_mended_alone(run_context: RunContext, production: Producer) -> None:
    made = production(
        [{"clip_id": "twice", "prompt": "[sandbox:policy] an owl", "size": "", "takes": "2"}],
        file="monday.csv",
    )
    await make(run_context, "twice-t2")
    publish_now(run_context.ledger, made)
    failed = Path(made.output_uri) / "failed.csv"
    assert [(row["clip_id"], row["takes"]) for row in rows_in(failed)] == [("twice-t2", "")]
    production.read(in_place(failed, production))
    assert row_of(run_context.ledger, "twice-t2") == "mended an owl"
    assert row_of(run_context.ledger, "twice") == "[sandbox:policy] an owl"
    assert standing(run_context.ledger, "twice-t2", "monday").clip.take == 2


# ---- whose rows


async def test_the_rows_name_the_production_whatever_the_file_is_called(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    rows = mended(rows_in(Path(campaign.output_uri) / "failed.csv"))
    production([{"clip_id": "bad", "prompt": "of tuesday"}], file="tuesday.csv")
    production.read(write_manifest(production.folder / "tuesday-failed.csv", rows))
    assert row_of(run_context.ledger, "bad") == "mended an owl"
    assert standing(run_context.ledger, "bad", "tuesday").clip.prompt == "of tuesday"


async def test_mended_rows_under_another_name_are_another_production(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    rows = mended(rows_in(Path(campaign.output_uri) / "failed.csv"))
    made = production.read(write_manifest(production.folder / "rest.csv", rows), name="rest")
    assert made.production_id == "rest"
    assert row_of(run_context.ledger, "bad") == "[sandbox:policy] an owl"


async def test_mended_rows_go_where_their_production_goes(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    path = in_place(Path(campaign.output_uri) / "failed.csv", production)
    with refusal(ProductionNameError, r"amends rows of the production monday.*Leave --output out"):
        production.read(path, output="elsewhere")
    assert run_context.ledger.productions.get("monday") == campaign_now(run_context.ledger)
    assert production.read(path, output="out/monday").output_uri == campaign.output_uri
    assert shown_invalid(run_context.ledger, campaign) == []


def campaign_now(ledger: Ledger) -> Production:
    (only,) = ledger.productions.all()
    return only


@pytest.mark.parametrize("productions", [["forgotten"], ["monday", "forgotten"]])
async def test_rows_of_a_production_that_is_not_known_begin_no_campaign_unless_they_get_a_name(
    campaign: Production, run_context: RunContext, production: Producer, productions: list[str]
) -> None:
    rows = mended(rows_in(Path(campaign.output_uri) / "failed.csv"))
    path = write_manifest(
        production.folder / "f.csv",
        [{**row, "production": productions[number % len(productions)]} for number, row in enumerate(rows)],
    )
    with refusal(ProductionNameError, r"of the production .*forgotten.*DAGSTER_HOME.*--name"):
        production.read(path)
    assert production.read(path, name="f").production_id == "f"
    assert production.read(path).production_id == "f", "said once is enough"


async def test_mended_rows_take_no_other_campaigns_place(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    tuesday = production([{"clip_id": "bad", "prompt": "of tuesday"}], file="tuesday.csv")
    rows = mended(rows_in(Path(campaign.output_uri) / "failed.csv"))
    path = write_manifest(production.folder / "f.csv", rows)
    with refusal(ProductionNameError, "are of the production monday .*, not of tuesday"):
        production.read(path, name="tuesday")
    assert run_context.ledger.productions.get("tuesday") == tuesday


async def test_a_column_production_of_ones_own_begins_a_campaign(production: Producer) -> None:
    made = production([{"clip_id": "a", "prompt": "a fox", "production": "studio 7"}], file="own.csv")
    assert made.production_id == "own"


async def test_another_account_mends_nothing_into_the_other_kind(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    """What the campaign is made with is decided where the campaign is read."""
    path = in_place(Path(campaign.output_uri) / "failed.csv", production)
    again = production.read(path, provider="gptproto")
    assert (again.account, again.simulated) == ("sandbox", True)
    assert standing(run_context.ledger, "bad", "monday").clip.simulated


# ---- the file a person edits


async def test_an_edited_file_is_never_overwritten_and_an_unedited_one_is(
    campaign: Production, run_context: RunContext, production: Producer
) -> None:
    ledger, folder = run_context.ledger, Path(campaign.output_uri)
    unedited = (folder / "failed.csv").read_bytes()
    publish_now(ledger, campaign)
    assert (folder / "failed.csv").read_bytes() == unedited
    (folder / "failed.csv").write_bytes(unedited + b"# mine\n")
    for _ in range(2):
        publish_now(ledger, campaign)
        assert (folder / "failed.csv").read_bytes() == unedited + b"# mine\n"
        assert failed_files(campaign) == ["failed-2.csv", "failed.csv"]
        assert (folder / "failed-2.csv").read_bytes() == unedited
    assert is_published(ledger.productions.get("monday"))
    (folder / "failed-2.csv").write_bytes(b"mine too")
    publish_now(ledger, campaign)
    assert (folder / "failed-2.csv").read_bytes() == b"mine too"
    assert (folder / "failed-3.csv").read_bytes() == unedited
    shutil.move(folder / "failed.csv", production.folder / "away.csv")
    publish_now(ledger, campaign)
    assert (folder / "failed.csv").read_bytes() == unedited, "the name is free again"


async def test_a_file_of_an_earlier_version_counts_as_edited(
    campaign: Production, run_context: RunContext
) -> None:
    folder = Path(campaign.output_uri)
    told = json.loads((folder / OWNER).read_text())
    (folder / OWNER).write_text(json.dumps({**told, "written": {}}))
    before = (folder / "failed.csv").read_bytes()
    publish_now(run_context.ledger, campaign)
    assert (folder / "failed.csv").read_bytes() == before
    assert (folder / "failed-2.csv").exists()


@pytest.mark.parametrize("dies_before", ["failed.csv", ".sora-pipeline.json"])
async def test_a_publisher_that_dies_leaves_no_second_file(
    campaign: Production,
    run_context: RunContext,
    production: Producer,
    monkeypatch: pytest.MonkeyPatch,
    dies_before: str,
) -> None:
    """It had noted what it was about to write, or had written it: the file is ours in either case."""
    from sora_pipeline.store import OutputStore

    await make(run_context, "waiting", owner="run-2")
    production([*CAMPAIGN[:3], {**CAMPAIGN[3], "size": "4x4"}], file="monday.csv")
    written: list[str] = []
    replace_bytes, replace_file = OutputStore.replace_bytes, OutputStore.replace_file

    def die_before(relative: str) -> None:
        if relative == dies_before and (written.count(OWNER) or relative != OWNER):
            raise KeyboardInterrupt
        written.append(relative)

    def replacing_bytes(store: OutputStore, relative: str, content: bytes) -> None:
        die_before(relative)
        replace_bytes(store, relative, content)

    def replacing_file(store: OutputStore, local: Path, relative: str) -> None:
        die_before(relative)
        replace_file(store, local, relative)

    with monkeypatch.context() as patched:
        patched.setattr(OutputStore, "replace_bytes", replacing_bytes)
        patched.setattr(OutputStore, "replace_file", replacing_file)
        with pytest.raises(KeyboardInterrupt):
            publish(run_context.ledger, "monday", settings_of(), "publisher")
    publish_now(run_context.ledger, campaign)
    folder = Path(campaign.output_uri)
    assert failed_files(campaign) == ["failed.csv"]
    assert [row["clip_id"] for row in rows_in(folder / "failed.csv")] == ["bad", "wrong"]


def test_amended_rows_are_where_their_own_rows_are_now(
    ledger: Ledger, production: Producer, tmp_path: Path
) -> None:
    production(CAMPAIGN, file="monday.csv")
    report = [
        {"production": "monday", "clip_id": each, "prompt": "a lynx", "error_message": "it was wrong"}
        for each in ("bad", "wrong")
    ]
    production.read(write_manifest(tmp_path / "mended.csv", report))
    production([CAMPAIGN[0], *CAMPAIGN[2:], CAMPAIGN[1]], file="monday.csv")
    numbers = {clip.clip_id: clip.row_number for clip in ledger.clips.of_production("monday")}
    assert numbers == {"good": 1, "waiting": 2, "wrong": 3, "bad": 5}
    assert row_of(ledger, "wrong") == row_of(ledger, "bad") == "a lynx"
