"""Whose evidence is, where clip ids alone were partition keys; and which productions there were before they had names."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Account, Ledger
from sora_pipeline.ledger.migrations.earlier_fingerprints import fingerprint_0002
from sora_pipeline.ledger.rows import spec_of
from sora_pipeline.manifest.snapshot import ContentHash, Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_to_parquet
from sora_pipeline.production.intake import snapshot_path
from sora_pipeline.production.ownership import Ownership, read_ownership, write_ownership
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.recovery.evidence import Evidence, EvidenceKind, History, ManifestReading
from sora_pipeline.recovery.rebuild import Recovered, recover, restore
from sora_pipeline.settings import Settings
from sora_pipeline.store import OutputStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
REAL = Account("gptproto", "gptproto", False)


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """No settings of the machine's own."""


def clip(clip_id: str, prompt: str, row: int = 1) -> Clip:
    return Clip(clip_id, row, prompt, None, None, "sora-2-pro", False, 4, Size(720, 1280))


def reading(
    manifest: Path, output: Path, minute: int, *clips: Clip, name: str | None = None
) -> ManifestReading:
    """A manifest that was read some minutes ago; its snapshot is in the output."""
    digest = ContentHash(())
    for each in clips:
        digest.add_clip(each)
    sha256 = digest.hexdigest(())
    snapshot = Snapshot(str(manifest), sha256, sha256, clips)
    OutputStore(str(output)).replace_bytes(snapshot_path(sha256), snapshot_to_parquet(snapshot))
    return ManifestReading(
        manifest_uri=str(manifest),
        output_uri=str(output),
        manifest_sha256=sha256,
        snapshot_sha256=sha256,
        at=NOW - timedelta(minutes=minute),
        production_id=name,
    )


def bare(
    clip_id: str, minute: int, fingerprint: str | None, kind: EvidenceKind = EvidenceKind.ACCEPTED
) -> Evidence:
    """Evidence from before productions had names."""
    accepted = kind is EvidenceKind.ACCEPTED
    return Evidence(
        clip_id=clip_id,
        kind=kind,
        at=NOW - timedelta(minutes=minute),
        number=1 if accepted else None,
        account=REAL if accepted else None,
        fingerprint=fingerprint,
        prediction_id=f"p-{fingerprint}" if accepted else None,
        new_attempt=True,
    )


def old(asked: Clip, provider: str = "gptproto") -> str:
    return fingerprint_0002(spec_of(asked), provider)


def recovered(history: History, *outputs: str) -> Recovered:
    return recover(history, outputs, Settings(), load_catalogue(), NOW)


def states(result: Recovered) -> dict[str, str]:
    return {attempt.clip_key: attempt.state.value for attempt in result.contents.attempts}


def test_bare_ids_belong_to_the_production_that_asked_for_just_this_video(tmp_path: Path) -> None:
    fox, owl = clip("001", "a fox"), clip("001", "an owl")
    readings = [
        reading(tmp_path / "monday.csv", tmp_path / "x", 90, fox),
        reading(tmp_path / "tuesday.csv", tmp_path / "y", 60, owl),
    ]
    evidence = [bare("001", 30, old(fox)), bare("001", 20, old(owl, "gptproto-unified"))]
    result = recovered(History(readings, evidence))
    assert states(result) == {"monday:001": "in_flight", "tuesday:001": "in_flight"}
    assert {attempt.clip_key: attempt.fingerprint for attempt in result.contents.attempts} == {
        "monday:001": fox.fingerprint,
        "tuesday:001": owl.fingerprint,
    }
    assert all(attempt.account == REAL for attempt in result.contents.attempts)


def test_one_video_that_two_productions_asked_for_is_paid_by_one_and_again_by_none(
    tmp_path: Path, ledger: Ledger
) -> None:
    fox = clip("001", "a fox")
    readings = [
        reading(tmp_path / "monday.csv", tmp_path / "x", 90, fox),
        reading(tmp_path / "tuesday.csv", tmp_path / "y", 10, fox),
    ]
    result = recovered(History(readings, [bare("001", 30, old(fox))]))
    assert states(result) == {"monday:001": "in_flight", "tuesday:001": "in_flight"}
    assert {attempt.clip_key: float(attempt.cost_usd) for attempt in result.contents.attempts} == {
        "monday:001": 1.2,
        "tuesday:001": 0,
    }
    restore(ledger, result)
    assert ledger.clips.pending(3) == []
    ownership = read_ownership(OutputStore(str(tmp_path / "x")))
    assert ownership is not None
    assert (ownership.production, ownership.ledger_id) == ("monday", ledger.ledger_id)


def test_production_that_began_with_a_name_has_no_part_in_what_was_there_before(tmp_path: Path) -> None:
    fox = clip("001", "a fox")
    readings = [
        reading(tmp_path / "monday.csv", tmp_path / "x", 90, fox),
        reading(tmp_path / "once-more.csv", tmp_path / "y", 10, fox, name="again"),
    ]
    own = replace(bare("001", 5, fox.fingerprint), production_id="again", prediction_id="own")
    result = recovered(History(readings, [bare("001", 30, old(fox)), own]))
    assert {a.clip_key: a.submission.prediction_id for a in result.contents.attempts} == {
        "monday:001": f"p-{old(fox)}",
        "again:001": "own",
    }


def test_run_that_left_no_word_may_have_paid_for_the_production_that_was_read_last(tmp_path: Path) -> None:
    readings = [
        reading(tmp_path / "monday.csv", tmp_path / "x", 90, clip("001", "a fox")),
        reading(tmp_path / "tuesday.csv", tmp_path / "y", 60, clip("001", "an owl")),
        reading(tmp_path / "wednesday.csv", tmp_path / "z", 10, clip("001", "a bear")),
    ]
    result = recovered(History(readings, [bare("001", 30, None, EvidenceKind.PERHAPS_SENT)]))
    assert states(result) == {"tuesday:001": "ambiguous"}


def test_nameless_productions_get_names_and_outputs_of_their_own(tmp_path: Path, ledger: Ledger) -> None:
    shared = tmp_path / "out"
    readings = [
        reading(tmp_path / "a" / "camp.csv", shared, 90, clip("001", "a fox")),
        reading(tmp_path / "b" / "camp.csv", shared, 60, clip("002", "an owl")),
    ]
    result = recovered(History(readings, [bare("001", 30, None), bare("002", 20, None)]))
    assert {each.production_id: each.output_uri for each in result.contents.productions} == {
        "camp": f"{shared}/camp",
        "camp-2": str(shared),
    }
    assert states(result) == {"camp:001": "in_flight", "camp-2:002": "in_flight"}
    restore(ledger, result)


def test_name_that_an_output_says_counts(tmp_path: Path) -> None:
    write_ownership(
        OutputStore(str(tmp_path / "x")),
        Ownership("spring", "", "lost", "sqlite:///lost.db", str(tmp_path / "camp.csv")),
    )
    read = reading(tmp_path / "camp.csv", tmp_path / "x", 90, clip("001", "a fox"))
    result = recovered(History([read], []))
    assert [each.production_id for each in result.contents.productions] == ["spring"]


def test_mended_file_of_old_amends_its_campaign(tmp_path: Path, ledger: Ledger) -> None:
    refused, mended, other = clip("001", "a fox"), clip("001", "a nice fox"), clip("002", "an owl", 2)
    readings = [
        reading(tmp_path / "camp.csv", tmp_path / "x", 90, refused, other),
        reading(tmp_path / "x" / "failed.csv", tmp_path / "x", 60, mended),
    ]
    result = recovered(History(readings, [bare("001", 30, old(mended)), bare("002", 80, old(other))]))
    restore(ledger, result)
    assert [each.production_id for each in ledger.productions.all()] == ["camp"]
    assert ledger.clips.pending(3) == []
    assert {each.clip_id: each.prompt for each in ledger.clips.of_production("camp")} == {
        "001": "a nice fox",
        "002": "an owl",
    }


def test_attempt_at_a_mended_row_that_nobody_knows_any_more_keeps_the_old_row_from_being_made(
    tmp_path: Path, ledger: Ledger
) -> None:
    refused = clip("001", "a fox")
    readings = [
        reading(tmp_path / "camp.csv", tmp_path / "x", 90, refused, name="camp"),
        ManifestReading(
            manifest_uri=str(tmp_path / "mended.csv"),
            output_uri=str(tmp_path / "x"),
            at=NOW - timedelta(minutes=60),
            production_id="camp",
            amends=True,
        ),
    ]
    failed = replace(
        bare("001", 30, clip("001", "a nice fox").fingerprint),
        kind=EvidenceKind.FAILED,
        production_id="camp",
        retryable=False,
    )
    result = recovered(History(readings, [failed]))
    assert any("mended.csv" in note.sentence for note in result.notes)
    restore(ledger, result)
    assert ledger.clips.pending(3) == []


@pytest.mark.parametrize("named", [True, False])
def test_output_that_another_ledger_adopted_is_left_to_it_unless_it_is_named(
    tmp_path: Path, named: bool
) -> None:
    fox = clip("001", "a fox")
    readings = [
        replace(reading(tmp_path / f"{name}.csv", tmp_path / name, 90, fox, name=name), ledger_id="lost")
        for name in ("x", "y")
    ]
    write_ownership(OutputStore(str(tmp_path / "y")), Ownership("y", "", "new", "elsewhere", ""))
    evidence = [replace(bare("001", 30, fox.fingerprint), production_id=name) for name in ("x", "y")]
    result = recovered(History(readings, evidence), *([str(tmp_path / "y")] if named else []))
    assert [each.production_id for each in result.contents.productions] == (["x", "y"] if named else ["x"])
    assert [attempt.clip_key for attempt in result.contents.attempts] == (
        ["x:001", "y:001"] if named else ["x:001"]
    )
    assert (
        any("belongs to the production y of another ledger" in note.sentence for note in result.notes)
        is not named
    )
