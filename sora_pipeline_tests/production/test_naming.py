"""What a production is called, and which manifests are its own; decided before anything is checked or paid."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.production.intake import open_production
from sora_pipeline.production.naming import (
    MAX_NAME_CHARS,
    Decided,
    ProductionNameError,
    ProductionRequest,
    is_name,
    name_of_file,
)
from sora_pipeline.production.ownership import OWNER
from sora_pipeline_tests.conftest import Producer, keys, refusal, rows_of, settings_of, write_manifest

ROWS = rows_of(a="one", b="two")


def decide(ledger: Ledger, path: Path, pipeline: str = "", name: str = "") -> Decided:
    return open_production(ledger, settings_of(), pipeline, ProductionRequest(str(path), name=name)).decided


def names(ledger: Ledger) -> list[str]:
    return sorted(each.production_id for each in ledger.productions.all())


# ---- from a file's name

LONG = "x" * 200
FILES = [
    ("monday.csv", "", "monday"),
    ("Spring Campaign 2026.csv", "", "Spring-Campaign-2026"),
    ("größe & maß.csv", "", "gr-e-ma"),
    ("猫.csv", "", "production-c167b4fe"),
    ("犬.csv", "", "production-f54242b7"),
    ("кампания.csv", "ads", "ads-production-3bebd5a8"),
    ("a.b.c.csv", "", "a-b-c"),
    ("..csv", "", "production"),
    (".csv", "", "csv"),
    ("no-extension", "", "no-extension"),
    ("+++.csv", "", "production"),
    ("_draft_.csv", "", "draft"),
    ("a:b.csv", "", "a-b"),
    ("...[x]...csv", "", "x"),
    (f"{LONG}.csv", "", "x" * MAX_NAME_CHARS),
    (f"{'x' * 59} {'y' * 9}.csv", "", "x" * 59),
    ("monday.csv", "ads", "ads-monday"),
    ("ads.csv", "ads", "ads"),
    ("+++.csv", "ads", "ads"),
    (f"{LONG}.csv", "ads", f"ads-{'x' * (MAX_NAME_CHARS - 4)}"),
]


@pytest.mark.parametrize(("file", "pipeline", "name"), FILES, ids=[each[0][:20] for each in FILES])
def test_a_production_is_called_after_its_file(
    ledger: Ledger, tmp_path: Path, file: str, pipeline: str, name: str
) -> None:
    path = write_manifest(tmp_path / file, ROWS)
    decided = decide(ledger, path, pipeline)
    assert decided.plan.production_id == name
    assert decided.plan.output_uri == f"{tmp_path}/out/{name}", "each has a folder of its own"
    assert decided.plan.manifest_uri == str(path)
    assert (decided.known, decided.amends, decided.plan.named) == (None, False, False)


@given(st.text(max_size=80), st.sampled_from(["", "ads", "p" * 40, "p" * MAX_NAME_CHARS]))
def test_any_file_name_gives_a_name_that_is_allowed(file: str, pipeline: str) -> None:
    assert is_name(name_of_file(f"/in/{file}", pipeline))


@pytest.mark.parametrize(
    "name",
    [
        "a:b",
        "a/b",
        "../up",
        "a b",
        "ä",
        "-a",
        "_a",
        ".a",
        "a.b",
        "x" * (MAX_NAME_CHARS + 1),
        "a...b",
        "[a]",
        "a\n",
    ],
)
def test_a_name_that_a_partition_key_cannot_hold_is_refused(
    ledger: Ledger, tmp_path: Path, name: str
) -> None:
    path = write_manifest(tmp_path / "monday.csv", ROWS)
    with pytest.raises(ProductionNameError, match="cannot be the name of a production; allowed: up to 60"):
        decide(ledger, path, name=name)


# ---- the same file, another file


def test_a_manifest_read_again_is_the_same_production(production: Producer, ledger: Ledger) -> None:
    first = production(ROWS, file="monday.csv", name="campaign")
    again = production(ROWS, file="monday.csv")
    assert again.production_id == first.production_id == "campaign", "the name holds for the file"
    assert again.output_uri == first.output_uri
    assert names(ledger) == ["campaign"]


def test_a_manifest_of_several_productions_is_read_with_a_name(production: Producer, ledger: Ledger) -> None:
    production(ROWS, file="monday.csv", name="one")
    production(ROWS, file="monday.csv", name="two")
    with refusal(ProductionNameError, r"several productions \(one, two\)\. Say which with --name"):
        production(ROWS, file="monday.csv")
    production(ROWS, file="monday.csv", name="two")
    assert names(ledger) == ["one", "two"]
    assert ledger.clips.pending(3) == [*keys("a", "b", production="one"), *keys("a", "b", production="two")]


def test_another_file_under_a_name_has_to_be_said(production: Producer, ledger: Ledger) -> None:
    first = production(ROWS, file="monday.csv")
    (production.folder / "elsewhere").mkdir()
    with refusal(ProductionNameError, r"made from .*/monday.csv, and this is .*--name monday"):
        production(rows_of(z="other"), file="elsewhere/monday.csv")
    assert ledger.productions.get("monday") == first, "nothing has changed"
    assert ledger.clips.pending(3) == keys("a", "b", production="monday")
    assert not (production.folder / "out" / "elsewhere").exists()
    moved = production(ROWS, file="elsewhere/monday.csv", name="monday")
    assert moved.output_uri == first.output_uri
    assert production(ROWS, file="elsewhere/monday.csv").production_id == "monday", "said once is enough"


def test_two_long_names_that_are_cut_alike_are_not_one_production(
    production: Producer, ledger: Ledger
) -> None:
    production(ROWS, file=f"{'x' * 90}-1.csv")
    with refusal(ProductionNameError, "--name"):
        production(rows_of(a="three"), file=f"{'x' * 90}-2.csv")


def test_a_copy_under_a_new_name_is_made_again_only_where_that_is_said(
    production: Producer, ledger: Ledger
) -> None:
    production(ROWS, file="monday.csv")
    account = production.ledger.productions.get("monday").account
    assert account == "sandbox"
    _reserve(ledger, "a", production="monday")
    shutil.copy(production.folder / "monday.csv", production.folder / "spring.csv")
    with refusal(
        LedgerError,
        r"2 clips of .*/spring.csv are paid for already, or are going to be, in the production monday .*--name monday; .*--name spring",
    ):
        production.read(production.folder / "spring.csv")
    assert names(ledger) == ["monday"]
    assert not (production.folder / "out" / "spring").exists(), "nothing was written"
    production.read(production.folder / "spring.csv", name="spring")
    assert ledger.clips.pending(3, "spring") == keys("a", "b", production="spring")
    production.read(production.folder / "spring.csv")  # the file has that name from now on


def test_a_clip_of_the_same_id_with_other_words_is_another_clip(production: Producer, ledger: Ledger) -> None:
    production(ROWS, file="monday.csv")
    _reserve(ledger, "a", production="monday")
    production(rows_of(a="three", b="four"), file="tuesday.csv")
    assert names(ledger) == ["monday", "tuesday"]


# ---- several pipelines


def test_a_name_of_another_pipelines_production_is_refused_before_anything_is_written(
    production: Producer, ledger: Ledger
) -> None:
    made = production(ROWS, file="ads-monday.csv")
    owner = Path(made.output_uri) / OWNER
    before = owner.read_bytes()
    with pytest.raises(
        ProductionNameError, match=r"ads-monday belongs to the built-in pipeline.*another name"
    ):
        production(rows_of(z="other"), file="monday.csv", pipeline="ads")
    with pytest.raises(ProductionNameError, match="belongs to the built-in pipeline"):
        production(rows_of(z="other"), file="monday.csv", pipeline="ads", name="ads-monday")
    assert owner.read_bytes() == before
    assert ledger.productions.get("ads-monday") == made
    assert ledger.clips.of_production("ads-monday") != []


def test_pipelines_that_read_one_file_make_productions_of_their_own(
    production: Producer, ledger: Ledger
) -> None:
    one = production(ROWS, file="monday.csv")
    two = production(ROWS, file="monday.csv", pipeline="ads")
    assert [one.production_id, two.production_id] == ["monday", "ads-monday"]
    assert one.output_uri != two.output_uri
    assert ledger.clips.pending(3, pipeline="ads") == keys("a", "b", production="ads-monday")


def _reserve(ledger: Ledger, clip_id: str, *, production: str) -> None:
    from sora_pipeline.admission.limits import limits_of
    from sora_pipeline_tests.production.parts import SANDBOX

    costs = dict.fromkeys(keys(clip_id, production=production), 1_200_000)
    reserved = ledger.attempts.reserve(
        costs, account=SANDBOX, batch_id="b", limits=limits_of(settings_of()), lease_s=60, owner="run"
    ).reserved
    assert len(reserved) == 1
