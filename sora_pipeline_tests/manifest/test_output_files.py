"""Files that are written some rows at a time, beside those that are made of everything at once."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.csv_file import CsvFile
from sora_pipeline.manifest.output import OutputAbout, OutputRow
from sora_pipeline.manifest.output_csv import FailedCsv
from sora_pipeline.manifest.problems import RowProblem
from sora_pipeline.manifest.reported_ids import invalid_ids
from sora_pipeline.manifest.rows_by_id import IdSample
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet, snapshot_to_parquet
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import Uri
from sora_pipeline.video import VideoFacts
from sora_pipeline_tests.manifest import straightforward
from sora_pipeline_tests.manifest.conftest import load
from sora_pipeline_tests.manifest.written import CSV, FAILED, PARQUET, files_of, rows_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ['=1+1, "a"', "a\nb", "-1", "a,b", "\r", "\uff1dx"]
)
MOMENTS = st.none() | st.datetimes(
    min_value=datetime(1970, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
)
VALUES: list[st.SearchStrategy[Any]] = [
    TEXT,
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False),
    TEXT | st.integers(0, 9),
    st.lists(st.sampled_from(["a", "=b"]), max_size=2),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2),
]
CARRIED = ("project", "=price")


def outcomes(clip_id: str) -> st.SearchStrategy[ClipOutcome]:
    facts = VideoFacts(5, "ab", 720, 1280, 29.97, 120, 4.0, "h264", has_audio=True, c2pa=False)
    return st.builds(
        ClipOutcome,
        clip_id=st.just(clip_id),
        status=st.sampled_from([each for each in ClipStatus if each != "invalid"]),
        file_name=st.none() | st.just("videos/1.mp4"),
        account=st.none() | TEXT,
        attempts=st.integers(0, 3),
        error_message=st.none() | TEXT,
        retryable=st.none() | st.booleans(),
        submitted_at=MOMENTS,
        completed_at=MOMENTS,
        render_s=st.none() | st.floats(0, 1e6),
        cost_usd=st.none() | st.floats(0, 100),
        facts=st.none() | st.just(facts),
    )


@st.composite
def manifests(draw: st.DrawFn) -> tuple[Snapshot, list[ClipOutcome]]:
    kinds = [draw(st.sampled_from(VALUES)) for _ in CARRIED]
    clips: list[Clip] = []
    invalid: list[InvalidRow] = []
    ids = draw(
        st.lists(
            st.from_regex(r"[A-Za-z0-9][a-z0-9-]{0,3}", fullmatch=True), unique_by=str.lower, max_size=12
        )
    )
    for number, clip_id in enumerate(ids, start=1):
        carried = {name: draw(st.none() | kind) for name, kind in zip(CARRIED, kinds, strict=True)}
        if draw(st.integers(0, 3)) == 0:
            values = {"prompt": draw(TEXT), "duration": draw(st.sampled_from([5, "x", None])), **carried}
            problem = RowProblem(number, "duration", "5", "is no duration", "4, 8 or 12")
            invalid.append(InvalidRow(number, draw(st.none() | st.just(clip_id)), values, (problem,)))
        else:
            prompt = draw(TEXT.filter(str.strip))
            clips.append(
                Clip(clip_id, number, prompt, None, None, "sora-2", True, 4, Size(720, 1280), carried=carried)
            )
    about = (Uri("/srv/a.csv"), "5e", "5f", tuple(clips), tuple(invalid), CARRIED)
    return Snapshot(*about), [draw(outcomes(clip.clip_id)) for clip in clips]


@settings(deadline=None, max_examples=40)
@given(
    made=manifests(), stretch=st.integers(1, 5), dividing=st.lists(st.text("amz09", max_size=2), max_size=3)
)
def test_they_are_those_of_everything_at_once(
    made: tuple[Snapshot, list[ClipOutcome]], stretch: int, dividing: list[str]
) -> None:
    snapshot, known = made
    files = files_of(snapshot, known, "p", stretch=stretch, dividing=sorted(dividing))
    rows = rows_of(snapshot, known)
    table = straightforward.table_of(snapshot, rows, "p")
    written = pq.read_table(io.BytesIO(files[PARQUET]))
    plain = io.BytesIO()
    pq.write_table(table, plain)
    assert written.equals(pq.read_table(plain), check_metadata=True)
    assert files[CSV] == straightforward.csv_of(table)
    assert files[FAILED] == straightforward.failed_csv_of(snapshot, rows, "p")


def failed_row(number: int, message: str = "no") -> OutputRow:
    clip = Clip(f"c{number}", number, f"a fox\n{number}", None, None, "sora-2", True, 4, Size(720, 1280))
    return clip, ClipOutcome(clip_id=clip.clip_id, status=ClipStatus.FAILED, error_message=message)


def test_failed_rows_stand_in_the_order_of_their_numbers_however_they_come(tmp_path: Path) -> None:
    about = OutputAbout("p", Uri("/srv/a.csv"), "5e", {})
    contents = []
    for order in ([1, 2, 3, 4], [1, 3, 4, 2]):
        with FailedCsv(tmp_path / "failed.csv", about) as failed:
            for number in order:
                failed.add([failed_row(number, "=1" if number == 4 else "no")])
        contents.append((tmp_path / "failed.csv").read_bytes())
    assert contents[0] == contents[1]
    assert list(tmp_path.iterdir()) == [tmp_path / "failed.csv"]


@settings(deadline=None)
@given(cells=st.lists(TEXT, min_size=1, max_size=6), delimiter=st.sampled_from(",;\t"))
@example(cells=['"\n"', "a\r\nb", "=1", "\n", '"', ",", ";"], delimiter=";")
def test_first_formula_gives_the_rows_before_it_their_further_cell(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], delimiter: str
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    for name, parts in (("at once", [cells]), ("one by one", [[cell] for cell in cells])):
        with CsvFile(folder / name, ["a", "b"], bom=True, delimiter=delimiter) as file:
            for part in parts:
                file.write([["x"] * len(part), part])
    assert (folder / "at once").read_bytes() == (folder / "one by one").read_bytes()


def test_snapshot_keeps_what_separated_the_columns(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt;duration\na;5\n")
    snapshot = load(tmp_path / "m.csv")
    kept = snapshot_to_parquet(snapshot)
    assert snapshot_from_parquet(kept).delimiter == ";"
    with pytest.raises(ValueError, match="separates no columns"):
        snapshot_from_parquet(snapshot_to_parquet(replace(snapshot, delimiter="|")))


def invalid(clip_id: str | None, prompt: str, number: int = 1) -> InvalidRow:
    return InvalidRow(number, clip_id, {"prompt": prompt}, ())


def test_reported_ids_are_free_and_the_same_each_time() -> None:
    derived = f"row-{invalid(None, 'a').row_hash[:8]}"
    clip = failed_row(1)[0]
    assert isinstance(clip, Clip)
    snapshot = Snapshot(
        Uri("/srv/a.csv"),
        "",
        "",
        (replace(clip, clip_id=derived.upper().replace("ROW", "row")), replace(clip, clip_id="row-else")),
        (invalid(None, "a"), invalid(f"{derived}-3", "b"), invalid(None, "a"), invalid(None, "c")),
    )
    named = invalid_ids(snapshot)
    other = f"row-{invalid(None, 'c').row_hash[:8]}"
    for _ in range(2):
        assert [name for _, name in named] == [f"{derived}-2", f"{derived}-3", f"{derived}-4", other]


def test_rows_are_divided_evenly_whatever_their_order() -> None:
    for ids in ([f"c{n:06}" for n in range(100_000)], [f"{n % 100:02}-{n:06}" for n in range(100_000)]):
        sample = IdSample()
        for begin in range(0, len(ids), 1000):
            sample.add(ids[begin : begin + 1000])
        dividing = sample.dividing()
        bounds = ["", *dividing, "~"]
        parts = [sum(low <= each < high for each in ids) for low, high in pairwise(bounds)]
        assert len(parts) == 7
        assert max(parts) < 2 * min(parts)


def test_moments_are_written_without_needless_fractions(tmp_path: Path) -> None:
    base = datetime(2026, 5, 4, 10, 30, 1, tzinfo=UTC)
    clip = failed_row(1)[0]
    assert isinstance(clip, Clip)
    known = [
        ClipOutcome(
            clip_id=clip.clip_id,
            status=ClipStatus.FAILED,
            submitted_at=base,
            completed_at=base + timedelta(microseconds=250_000),
        )
    ]
    content = files_of(Snapshot(Uri("/a"), "", "", (clip,)), known, "p")[CSV].decode()
    assert ",2026-05-04T10:30:01Z,2026-05-04T10:30:01.250000Z,," in content
