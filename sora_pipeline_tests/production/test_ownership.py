"""Whose an output is: one production's of one ledger, and whoever else would write there is told what to do."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.production.intake import open_production
from sora_pipeline.production.naming import ProductionRequest
from sora_pipeline.production.ownership import OWNER, OutputOwnedError, read_ownership
from sora_pipeline.production.publishing import publish
from sora_pipeline.store import OutputStore
from sora_pipeline_tests.conftest import Producer, refusal, rows_of, settings_of, write_manifest

ROWS = rows_of(a="one", b="two")


@pytest.fixture
def other_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """That of another home, made for itself: the tests' own are copies of one, and have its id."""
    ledger = Ledger(f"sqlite:///{tmp_path}/another-home.db")
    yield ledger
    ledger.close()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(
    production: Producer, ledger: Ledger, words: str, *, output: str, file: str = "tuesday.csv"
) -> None:
    """Neither by name nor by file is anything written, registered or paid there."""
    folder = production.folder / output
    before, known = tree(folder), ledger.productions.all()
    path = write_manifest(production.folder / file, rows_of(z="other", broken=""))
    with refusal(OutputOwnedError, words):
        open_production(ledger, settings_of(), "", ProductionRequest(str(path), output=str(folder)))
    with refusal(OutputOwnedError, words):
        production.read(path, output=output)
    assert tree(folder) == before
    assert ledger.productions.all() == known


def test_an_output_says_whose_it_is(production: Producer, ledger: Ledger) -> None:
    made = production(ROWS, file="monday.csv")
    told = json.loads((Path(made.output_uri) / OWNER).read_text())
    assert told["format"] == 1
    assert (told["production"], told["pipeline"], told["ledger_id"]) == ("monday", "", ledger.ledger_id)
    assert told["manifest"] == made.manifest_uri
    assert told["published_at"] is None
    publish(ledger, "monday", settings_of(), "run")
    told = json.loads((Path(made.output_uri) / OWNER).read_text())
    assert told["published_at"] is not None
    assert list(told["written"]) == ["failed.csv"]


def test_a_password_of_the_ledger_is_not_written_into_an_output(production: Producer, ledger: Ledger) -> None:
    made = production(ROWS, file="monday.csv")
    ownership = read_ownership(OutputStore(made.output_uri))
    assert ownership is not None
    assert ownership.ledger == ledger.database.shown_url
    password = ledger.database.engine.url.password
    assert not password or password not in (Path(made.output_uri) / OWNER).read_text().replace(
        "postgresql", ""
    )


@pytest.mark.parametrize("spelled", ["shared", "shared/", "./shared", "x/../shared"])
def test_an_output_of_another_production_is_refused(
    production: Producer, ledger: Ledger, spelled: str
) -> None:
    production(ROWS, file="monday.csv", output="shared")
    refused(
        production,
        ledger,
        r"is the output of the production monday, and tuesday would replace .*Leave --output out.*--name monday",
        output=spelled,
    )


def test_an_output_that_another_production_only_asked_for_is_refused(
    production: Producer, ledger: Ledger
) -> None:
    """Its manifest is still to be read, so that nothing lies there so far."""
    path = write_manifest(production.folder / "monday.csv", ROWS)
    request = ProductionRequest(str(path), output=str(production.folder / "shared"))
    ledger.productions.request(open_production(ledger, settings_of(), "", request).decided.plan)
    assert not (production.folder / "shared").exists()
    refused(production, ledger, "is the output of the production monday", output="shared")
    production.read(path)


def test_an_output_within_another_production_is_refused_where_its_files_lie(
    production: Producer, tmp_path: Path
) -> None:
    production(rows_of(a="a fox"), output=str(tmp_path / "out"))
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for folder in ("out/videos", "out/.snapshots/deeper", "out/.sidecars", "out/.posters/x", "link/videos"):
        with pytest.raises(OutputOwnedError, match="is the output of the production prompts"):
            production(rows_of(a="an owl"), file="tuesday.csv", output=str(tmp_path / folder))
    production(rows_of(a="an owl"), file="tuesday.csv", output=str(tmp_path / "out" / "tuesday"))


def test_a_linked_folder_is_the_same_output(production: Producer, ledger: Ledger) -> None:
    production(ROWS, file="monday.csv", output="shared")
    (production.folder / "link").symlink_to(production.folder / "shared")
    refused(production, ledger, "is the output of the production monday", output="link")


def test_a_production_may_move_to_another_output_and_back(production: Producer, ledger: Ledger) -> None:
    production(ROWS, file="monday.csv", output="one")
    assert production(ROWS, file="monday.csv", output="two").output_uri.endswith("/two")
    refused(production, ledger, "is the output of the production monday", output="one")
    assert production(ROWS, file="monday.csv").output_uri.endswith("/two"), "as it was said last"
    assert production(ROWS, file="monday.csv", output="one").output_uri.endswith("/one")


def test_an_output_of_another_ledger_is_refused_with_the_way_to_adopt_it(
    production: Producer, ledger: Ledger, other_ledger: Ledger
) -> None:
    made = production(ROWS, file="monday.csv")
    other = other_ledger
    elsewhere = Producer(production.folder, other, production.instance)
    for file in ("monday.csv", "tuesday.csv"):
        refused(
            elsewhere,
            other,
            r"belongs to the production monday of another ledger .*would pay for its clips again.*sora-pipeline adopt",
            output="out/monday",
            file=file,
        )
    assert other.productions.all() == []
    assert production(rows_of(a="one"), file="monday.csv").output_uri == made.output_uri


def test_a_default_output_of_another_ledger_is_refused_too(
    production: Producer, ledger: Ledger, other_ledger: Ledger
) -> None:
    """One folder on, with another home: the same manifest would be paid for again."""
    production(ROWS, file="monday.csv")
    other = other_ledger
    elsewhere = Producer(production.folder, other, production.instance)
    with refusal(OutputOwnedError, "sora-pipeline adopt"):
        elsewhere(ROWS, file="monday.csv")


@pytest.mark.parametrize("trace", ["metadata.parquet", ".snapshots/0123.parquet"])
def test_an_output_that_nobody_owns_and_that_holds_a_production_is_refused(
    production: Producer, ledger: Ledger, trace: str
) -> None:
    """One of an earlier version, whose ledger is not this one."""
    old = production.folder / "old" / trace
    old.parent.mkdir(parents=True)
    old.write_bytes(b"of an earlier version")
    refused(
        production,
        ledger,
        r"holds videos of a production that this ledger .* does not know: they would be paid for again. "
        "`sora-pipeline adopt",
        output="old",
    )


def test_a_folder_with_other_things_in_it_may_become_an_output(production: Producer) -> None:
    (production.folder / "mine").mkdir()
    (production.folder / "mine" / "notes.txt").write_text("mine")
    assert production(ROWS, file="monday.csv", output="mine").output_uri.endswith("/mine")
    assert (production.folder / "mine" / "notes.txt").read_text() == "mine"


def test_an_owner_file_that_was_removed_is_written_again(production: Producer, ledger: Ledger) -> None:
    made = production(ROWS, file="monday.csv")
    publish(ledger, "monday", settings_of(), "run")
    (Path(made.output_uri) / OWNER).unlink()
    refused(production, ledger, "is the output of the production monday", output="out/monday")
    production(ROWS, file="monday.csv")
    ownership = read_ownership(OutputStore(made.output_uri))
    assert ownership is not None
    assert ownership.production == "monday"


DAMAGED: list[tuple[bytes, str]] = [
    (b"", "is damaged.*remove that file"),
    (b"{", "is damaged"),
    (b"\xff\xfe\x00", "is damaged"),
    (b"[]", "is damaged"),
    (b'{"format": 1}', "is damaged"),
    (b'{"format": "one", "production": "monday", "ledger_id": "x"}', "is damaged"),
    (
        b'{"format": 2, "production": "monday", "ledger_id": "x"}',
        r"newer version.*output format 2, known here: 1",
    ),
    (b'{"format": 9, "owner": {"name": "monday"}}', r"newer version.*output format 9"),
]


@pytest.mark.parametrize(("content", "words"), DAMAGED, ids=[str(each[0])[:30] for each in DAMAGED])
def test_an_owner_file_that_cannot_be_understood_is_refused_and_left_alone(
    production: Producer, ledger: Ledger, content: bytes, words: str
) -> None:
    made = production(ROWS, file="monday.csv")
    owner = Path(made.output_uri) / OWNER
    owner.write_bytes(content)
    for file in ("monday.csv", "tuesday.csv"):
        refused(production, ledger, words, output="out/monday", file=file)
    with refusal(OutputOwnedError, words):
        publish(ledger, "monday", settings_of(), "run")
    assert owner.read_bytes() == content
    assert not (Path(made.output_uri) / "metadata.parquet").exists()


def test_a_newer_version_may_say_more_in_the_same_format(production: Producer) -> None:
    made = production(ROWS, file="monday.csv")
    owner = Path(made.output_uri) / OWNER
    owner.write_text(json.dumps({**json.loads(owner.read_text()), "colour": "red"}))
    assert production(ROWS, file="monday.csv").production_id == "monday"


def test_an_output_that_was_given_away_meanwhile_is_not_published_into(
    production: Producer, ledger: Ledger
) -> None:
    made: Production = production(ROWS, file="monday.csv")
    owner = Path(made.output_uri) / OWNER
    told: dict[str, Any] = json.loads(owner.read_text())
    owner.write_text(json.dumps({**told, "ledger_id": "another", "ledger": "sqlite:////other.db"}))
    with pytest.raises(OutputOwnedError, match=r"another ledger \(sqlite:////other.db\)"):
        publish(ledger, "monday", settings_of(), "run")
    assert not (Path(made.output_uri) / "metadata.parquet").exists()


def test_an_output_that_was_moved_goes_on_where_it_is(production: Producer, ledger: Ledger) -> None:
    made = production(ROWS, file="monday.csv")
    publish(ledger, "monday", settings_of(), "run")
    shutil.move(made.output_uri, production.folder / "archive")
    moved = production(ROWS, file="monday.csv", output="archive")
    assert moved.output_uri == str(production.folder / "archive")
    assert publish(ledger, "monday", settings_of(), "run") is not None


def test_an_output_in_an_object_store_is_owned_alike(production: Producer, ledger: Ledger) -> None:
    import fsspec
    from fsspec.implementations.memory import MemoryFileSystem

    class Bucket(MemoryFileSystem):
        """An object store, as far as anybody here can tell; in memory by its own name, nothing can be owned."""

        protocol = "bucket"
        store: ClassVar = {}
        pseudo_dirs: ClassVar = [""]

        @classmethod
        def _strip_protocol(cls, path: str) -> str:
            return super()._strip_protocol(path.removeprefix("bucket://"))

    fsspec.register_implementation("bucket", Bucket, clobber=True)
    uri = "bucket://shop/owned"
    path = write_manifest(production.folder / "monday.csv", ROWS)
    intake = open_production(ledger, settings_of(), "", ProductionRequest(str(path), output=uri))
    assert intake.decided.plan.output_uri == uri

    from sora_pipeline.production.ownership import claim

    claim(OutputStore(uri), ledger, intake.decided.plan)
    other = write_manifest(production.folder / "tuesday.csv", ROWS)
    with pytest.raises(OutputOwnedError, match="is the output of the production monday"):
        open_production(ledger, settings_of(), "", ProductionRequest(str(other), output=f"{uri}/"))
