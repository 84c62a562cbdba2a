import codecs
import csv
import io
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from sora_pipeline.manifest.carried import CarriedColumns, carried_array
from sora_pipeline.manifest.columns import OUTPUT_COLUMNS
from sora_pipeline.manifest.output import output_schema
from sora_pipeline.manifest.reading import read_manifest
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus
from sora_pipeline.video import VideoFacts
from sora_pipeline_tests.manifest.conftest import WriteCsv, load
from sora_pipeline_tests.manifest.written import CSV, FAILED, PARQUET, files_of, table_of

MOMENT = datetime(2026, 5, 4, 12, 30, 1, 250000, tzinfo=timezone(timedelta(hours=2)))

FACTS = VideoFacts(
    bytes=2**33,
    sha256="ab" * 32,
    width=720,
    height=1280,
    fps=30.0,
    frames=120,
    duration_s=4.0,
    video_codec="h264",
    has_audio=True,
    c2pa=False,
)

NAMELESS = "row-6e163026"
"""The id that the row without one is reported under."""


@pytest.fixture
def snapshot(manifest: WriteCsv) -> Snapshot:
    return load(
        manifest(
            {"clip_id": "zebra", "prompt": "=1+1, a zebra", "image": "z.png", "project": "z"},
            {"clip_id": "ant", "prompt": "an ant\non a leaf", "project": "a"},
            {"clip_id": "bee", "prompt": "a bee", "duration": "12"},
            {"clip_id": "cow", "prompt": "a cow"},
            {
                "clip_id": "",
                "prompt": "",
                "duration": "5",
                "image": "img/i.png",
                "takes": "3",
                "project": "i",
            },
        )
    )


@pytest.fixture
def outcomes() -> list[ClipOutcome]:
    return [
        ClipOutcome(
            clip_id="zebra",
            status=ClipStatus.DELIVERED,
            file_name="videos/zebra/1.mp4",
            video_path="/out/videos/zebra/1.mp4",
            attempts=1,
            submitted_at=MOMENT,
            cost_usd=0.1 + 0.2,
            facts=FACTS,
        ),
        ClipOutcome(
            clip_id="ant",
            status=ClipStatus.FAILED,
            error_kind="policy",
            error_message="=HYPERLINK(1)",
            file_name="x",
        ),
        ClipOutcome(clip_id="bee", status=ClipStatus.AMBIGUOUS, error_message="the answer was lost"),
        ClipOutcome(clip_id="gone", status=ClipStatus.DELIVERED),
    ]


def test_the_columns_are_the_contract_then_what_was_carried(
    snapshot: Snapshot, outcomes: list[ClipOutcome]
) -> None:
    table = table_of(snapshot, outcomes, "prompts")
    assert table.column_names == [*OUTPUT_COLUMNS, "project"]
    assert table.schema.field("submitted_at").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("cost_usd").type == pa.float64()
    assert table.schema.field("has_audio").type == pa.bool_()
    assert {each.name for each in fields(ClipOutcome)} - {"facts"} <= set(OUTPUT_COLUMNS)
    assert {each.name for each in fields(VideoFacts)} <= set(OUTPUT_COLUMNS)


def test_there_is_one_row_per_clip_whatever_happened_sorted_by_id(
    snapshot: Snapshot, outcomes: list[ClipOutcome]
) -> None:
    rows = table_of(snapshot, outcomes, "prompts").to_pylist()
    assert [(row["clip_id"], row["status"]) for row in rows] == [
        ("ant", "failed"),
        ("bee", "ambiguous"),
        ("cow", "pending"),
        (NAMELESS, "invalid"),
        ("zebra", "delivered"),
    ]
    assert {row["manifest_sha256"] for row in rows} == {snapshot.manifest_sha256}
    assert rows[4]["cost_usd"] == 0.3
    assert rows[4]["submitted_at"] == MOMENT
    assert rows[4]["fingerprint"] == snapshot.clips[0].fingerprint
    assert {row["production"] for row in rows} == {"prompts"}, "invalid rows too"
    assert {name: rows[4][name] for name in asdict(FACTS)} == asdict(FACTS)
    assert {rows[0][name] for name in asdict(FACTS)} == {None}


def test_an_invalid_row_says_what_is_wrong_with_it(snapshot: Snapshot) -> None:
    row = table_of(snapshot, [], "prompts").to_pylist()[3]
    assert (row["row_number"], row["duration"], row["error_kind"], row["retryable"]) == (
        5,
        5,
        "invalid_row",
        False,
    )
    assert row["error_message"].endswith(
        'row 6, duration: "5" is not a duration of sora-2; allowed: 4, 8 or 12.'
    )
    assert row["error_message"].startswith("row 6, prompt: ")


def test_an_invalid_rows_stand_in_id_is_nobody_elses(manifest: WriteCsv) -> None:
    bad = {"clip_id": "a/b", "prompt": "b"}
    (given,) = table_of(load(manifest(bad)), [], "prompts").column("clip_id").to_pylist()
    snapshot = load(manifest({"clip_id": given, "prompt": "a"}, bad, bad))
    ids = table_of(snapshot, [], "prompts").column("clip_id").to_pylist()
    assert ids == [given, f"{given}-2", f"{given}-3"]


def test_parquet_is_typed_zstd_and_versioned(snapshot: Snapshot, outcomes: list[ClipOutcome]) -> None:
    table = table_of(snapshot, outcomes, "prompts")
    content = files_of(snapshot, outcomes, "prompts")[PARQUET]
    file = pq.ParquetFile(io.BytesIO(content))
    assert file.read().equals(table, check_metadata=True)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.schema_arrow.metadata[b"sora_pipeline.schema_version"] == b"2"
    frame = pd.read_parquet(io.BytesIO(content)).set_index("clip_id")
    assert str(frame["submitted_at"].dtype) == "datetime64[us, UTC]"
    assert frame["cost_usd"].sum() == 0.3
    assert frame.loc["zebra", "bytes"] == 2**33


def test_the_folder_follows_the_rules_of_a_video_folder(
    snapshot: Snapshot, outcomes: list[ClipOutcome]
) -> None:
    rows = table_of(snapshot, outcomes, "prompts").to_pylist()
    assert [row["file_name"] for row in rows] == [None, None, None, None, "videos/zebra/1.mp4"]
    assert [name for name in rows[0] if name.endswith(("file_name", "file_names"))] == ["file_name"]


def test_the_csv_twin_says_the_same(snapshot: Snapshot, outcomes: list[ClipOutcome]) -> None:
    content = files_of(snapshot, outcomes, "prompts")[CSV]
    frame = pd.read_csv(io.BytesIO(content), keep_default_na=False, dtype=str).set_index("clip_id")
    names = [name for name in OUTPUT_COLUMNS if name != "clip_id"]
    assert list(frame.columns) == [*names, "project", "escaped_columns"]
    zebra = frame.loc["zebra"]
    assert (zebra["submitted_at"], zebra["has_audio"], zebra["c2pa"]) == (
        "2026-05-04T10:30:01.250000Z",
        "true",
        "false",
    )
    assert (zebra["cost_usd"], zebra["stored_at"]) == ("0.3", "")
    assert pa_csv.read_csv(
        io.BytesIO(content), parse_options=pa_csv.ParseOptions(newlines_in_values=True)
    ).num_rows == len(frame)


def test_failed_csv_can_be_handed_in_again_from_another_folder(
    snapshot: Snapshot, outcomes: list[ClipOutcome], tmp_path: Path
) -> None:
    zebra_failed = ClipOutcome(clip_id="zebra", status=ClipStatus.FAILED, error_message="no luck")
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "failed.csv"
    path.write_bytes(files_of(snapshot, [*outcomes[1:], zebra_failed], "prompts")[FAILED])
    again = load(path)
    before = {clip.clip_id: clip for clip in snapshot.clips}
    assert [clip.clip_id for clip in again.clips] == ["zebra", "ant"]
    for clip in again.clips:
        assert (clip.fingerprint, clip.image) == (
            before[clip.clip_id].fingerprint,
            before[clip.clip_id].image,
        )
        assert clip.carried == before[clip.clip_id].carried
    assert [(row.row_number, row.values["takes"]) for row in again.invalid] == [(3, "3")]
    assert again.invalid[0].values["image"] == str(tmp_path / "img/i.png")
    assert again.ignored_columns == ("production", "error_message")


def test_clips_that_may_have_been_paid_for_are_not_handed_in_again(
    snapshot: Snapshot, outcomes: list[ClipOutcome]
) -> None:
    written = files_of(snapshot, outcomes, "prompts")[FAILED].decode("utf-8-sig")
    assert [row["clip_id"] for row in csv.DictReader(io.StringIO(written))] == ["ant", NAMELESS]


def test_every_failed_row_names_the_production_that_it_amends(
    snapshot: Snapshot, outcomes: list[ClipOutcome], tmp_path: Path
) -> None:
    path = tmp_path / "failed.csv"
    path.write_bytes(files_of(snapshot, outcomes, "prompts")[FAILED])
    assert path.read_bytes().startswith(codecs.BOM_UTF8), "else Excel takes it for the local code page"
    assert read_manifest(str(path)).productions == {"prompts"}
    assert load(path).carried_columns == snapshot.carried_columns, "it is no column of the user's"


def test_one_failed_take_is_handed_in_under_its_own_id(manifest: WriteCsv, tmp_path: Path) -> None:
    snapshot = load(manifest({"prompt": "a", "takes": "3"}))
    second = snapshot.clips[1]
    path = tmp_path / "failed.csv"
    path.write_bytes(
        files_of(snapshot, [ClipOutcome(clip_id=second.clip_id, status=ClipStatus.FAILED)], "prompts")[FAILED]
    )
    [again] = load(path).clips
    assert (again.clip_id, again.fingerprint) == (second.clip_id, second.fingerprint)


def test_the_output_manifest_itself_can_be_handed_in(
    snapshot: Snapshot, outcomes: list[ClipOutcome], tmp_path: Path
) -> None:
    files = files_of(snapshot, outcomes, "prompts")
    for name in (CSV, PARQUET):
        (tmp_path / name).write_bytes(files[name])
        again = load(tmp_path / name)
        assert {clip.clip_id: clip.fingerprint for clip in again.clips} == {
            clip.clip_id: clip.fingerprint for clip in snapshot.clips
        }


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="stored_at of a has no time zone"):
        ClipOutcome(clip_id="a", status=ClipStatus.DELIVERED, stored_at=datetime(2026, 1, 1))


def test_times_are_utc(snapshot: Snapshot) -> None:
    outcome = ClipOutcome(clip_id="ant", status=ClipStatus.FAILED, stored_at=MOMENT)
    stored = table_of(snapshot, [outcome], "prompts").to_pylist()[0]["stored_at"]
    assert stored == datetime(2026, 5, 4, 10, 30, 1, 250000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        (["a", None], pa.string(), ["a", None]),
        ([None, None], pa.string(), [None, None]),
        ([True, None], pa.bool_(), [True, None]),
        ([1, None], pa.int64(), [1, None]),
        ([1, 0.5], pa.float64(), [1.0, 0.5]),
        ([2**63, 1], pa.string(), [str(2**63), "1"]),
        ([2**60, 0.5], pa.string(), [str(2**60), "0.5"]),
        ([True, 1], pa.string(), ["true", "1"]),
        ([1, "b"], pa.string(), ["1", "b"]),
        ([["x"], [], None], pa.list_(pa.string()), [["x"], [], None]),
        ([["x", 1]], pa.string(), ['["x", 1]']),
        ([[], None], pa.string(), ["[]", None]),
        ([{"a": "ä"}], pa.string(), ['{"a": "ä"}']),
    ],
)
def test_a_carried_column_gets_the_type_its_values_share(
    values: list[Any], kind: pa.DataType, stored: list[Any]
) -> None:
    columns = CarriedColumns()
    for value in values:
        columns.add([{"column": value}])
    array = carried_array(values, columns.types()["column"])
    assert array.type == kind
    assert array.to_pylist() == stored


def test_the_schema_needs_no_rows() -> None:
    assert output_schema().names == list(OUTPUT_COLUMNS)
