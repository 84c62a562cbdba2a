"""Outputs that were edited by hand, or made by an attacker, are taken over as far as they can be believed.

Whatever is in them: one sentence or none, no file outside is read as a video or written, nothing hangs, and no clip for which
something was paid comes to be pending without a word.
"""

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from sora_pipeline.clip import clip_key
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.recovery.adopt import adopt
from sora_pipeline.recovery.rebuild import Recovered
from sora_pipeline.store import OutputStore
from sora_pipeline_tests.attacks.made_output import PAID, UNPAID, MadeOutput
from sora_pipeline_tests.conftest import settings_of

DEEP = "[" * 100_000
FAR = pa.array([2**62] * 3).cast(pa.timestamp("us", tz="UTC"), safe=False)
COLLECTED, AMBIGUOUS = AttemptState.COLLECTED, AttemptState.AMBIGUOUS

Edit = Callable[[MadeOutput], Any]


@pytest.fixture
def output(tmp_path: Path) -> MadeOutput:
    made = MadeOutput(tmp_path / "output")
    made.make()
    return made


def take_over(ledger: Ledger, output: MadeOutput) -> Recovered:
    return adopt(ledger, settings_of(), load_catalogue(), str(output.folder), "taken")


def states(ledger: Ledger) -> dict[str, AttemptState | None]:
    """How every clip stands that the ledger has; None: nothing was paid for it."""
    known = ledger.clips.of_production("taken")
    standings = ledger.clips.standings([clip_key("taken", clip.clip_id) for clip in known])
    return {each.clip.clip_id: each.latest.state if each.latest else None for each in standings.values()}


def test_an_output_as_it_was_left_is_taken_over(ledger: Ledger, output: MadeOutput) -> None:
    take_over(ledger, output)
    assert states(ledger) == {"a": COLLECTED, "b": COLLECTED, "c": None}
    assert ledger.money.of_production("taken").spent_usd == Decimal("2.40")


NOT_BELIEVED: dict[str, Edit] = {
    "nested": lambda output: (output.edit_sidecar(), output.sidecar().write_text(DEEP)),
    "a number without end": lambda output: (output.edit_sidecar(), output.sidecar().write_text("1" * 9_000)),
    "half a character": lambda output: output.edit_sidecar(prompt="\ud800"),
    "NUL": lambda output: output.edit_sidecar(prompt="\0"),
    "NaN": lambda output: output.edit_sidecar(carried={"of": float("nan")}),
    "infinity": lambda output: output.edit_sidecar(fps=float("inf")),
    "another clip's": lambda output: output.edit_sidecar(clip_id="b"),
    "no video": lambda output: output.edit_sidecar(file_name="gallery.html"),
    "another clip's video": lambda output: output.edit_sidecar(file_name="videos/b/b-1-00000000.mp4"),
    "outside": lambda output: output.edit_sidecar(file_name="videos/a/../../../x.mp4"),
    "a production's name": lambda output: output.edit_sidecar(production="../x"),
    "gone": lambda output: (output.edit_sidecar(), output.sidecar().unlink()),
}  # fmt: skip


@pytest.mark.parametrize("edit", NOT_BELIEVED.values(), ids=list(NOT_BELIEVED))
def test_a_paid_clip_of_which_nothing_can_be_believed_waits_for_a_person(
    ledger: Ledger, output: MadeOutput, edit: Edit
) -> None:
    edit(output)
    recovered = take_over(ledger, output)
    assert states(ledger) == {"a": AMBIGUOUS, "b": COLLECTED, "c": None}
    reason = ledger.attempts.of_clips([clip_key("taken", "a")])[0].failure
    assert reason is not None
    assert "that it may be paid for" in reason.message
    if output.folder.joinpath(".sidecars", "a").exists() and list((output.folder / ".sidecars/a").iterdir()):
        assert any("left out" in note.sentence and "a-1-0" in note.sentence for note in recovered.notes)


ROWS: dict[str, Edit] = {
    "a production that is a list": lambda output: output.edit_rows("production", [["x"]] * 3),
    "a production that leads outside": lambda output: output.edit_rows("production", ["../x"] * 3),
    "statuses of another type": lambda output: output.edit_rows("status", [["x"]] * 3),
    "no ids": lambda output: output.edit_rows("clip_id", [None] * 3, pa.string()),
    "ids that are numbers": lambda output: output.edit_rows("clip_id", range(3)),
    "one id for all": lambda output: output.edit_rows("clip_id", ["a"] * 3),
    "texts that are bytes": lambda output: output.edit_rows("prompt", [b"\xff"] * 3),
    "sizes without end": lambda output: output.edit_rows("size", [f"{'9' * 4_000}x1"] * 3),
    "other videos": lambda output: output.edit_rows("file_name", ["videos/b/b-1-00000000.mp4"] * 3),
    "posters outside": lambda output: output.edit_rows("poster_path", ["videos/a/a-1-00000000.mp4"] * 3),
}  # fmt: skip


@pytest.mark.parametrize("edit", ROWS.values(), ids=list(ROWS))
def test_rows_that_are_not_ours_are_left_out_and_the_sidecars_tell(
    ledger: Ledger, output: MadeOutput, edit: Edit
) -> None:
    edit(output)
    recovered = take_over(ledger, output)
    known = states(ledger)
    assert {name: known[name] for name in PAID} == dict.fromkeys(PAID, COLLECTED)
    assert any("left out" in note.sentence for note in recovered.notes)
    videos = {each.clip_id: each.result.video for each in ledger.attempts.of_production("taken")}
    assert all(video is None or f"/{clip_id}/" in video.file_name for clip_id, video in videos.items())


@pytest.mark.parametrize(
    "column", [FAR, pa.array([1] * 3).cast(pa.timestamp("us", tz="Mars/Phobos"), safe=False)]
)
def test_a_manifest_that_no_decoder_reads_is_refused_in_words(
    ledger: Ledger, output: MadeOutput, column: pa.Array
) -> None:
    table = pa.parquet.read_table(output.manifest)
    table = table.set_column(table.schema.get_field_index("stored_at"), "stored_at", column)
    pa.parquet.write_table(table, output.manifest)
    with pytest.raises(SoraPipelineError, match=r"metadata\.parquet.*move it away"):
        take_over(ledger, output)


SNAPSHOTS: dict[str, Edit] = {
    "nothing about itself": lambda output: output.edit_about(lambda about: about.pop(b"sora_pipeline.snapshot")),
    "a list about itself": lambda output: output.edit_about(lambda about: about.update({b"sora_pipeline.snapshot": b"[]"})),
    "nesting": lambda output: output.edit_about(lambda about: about.update({b"sora_pipeline.snapshot": DEEP.encode()})),
    "a version of bytes": lambda output: output.edit_about(
        lambda about: about.update({b"sora_pipeline.snapshot_version": b"\xff"})
    ),
    "ids that lead outside": lambda output: output.edit_snapshot("clip_id", ["../../x"] * 3),
    "ids that are numbers": lambda output: output.edit_snapshot("clip_id", range(3)),
    "no ids": lambda output: output.edit_snapshot("clip_id", [None] * 3, pa.string()),
    "one id twice": lambda output: output.edit_snapshot("clip_id", ["a", "A", "c"]),
    "no sizes": lambda output: output.edit_snapshot("width", [None] * 3, pa.int32()),
    "durations in words": lambda output: output.edit_snapshot("duration", ["long"] * 3),
    "nested cells": lambda output: output.edit_snapshot("carried", [DEEP] * 3),
    "cells that are lists": lambda output: output.edit_snapshot("carried", ["[1]"] * 3),
    "prompts with NUL": lambda output: output.edit_snapshot("prompt", ["\0"] * 3),
    "no Parquet": lambda output: output.snapshot.write_bytes(b"PAR1" + b"x" * 100 + b"PAR1"),
    "another file": lambda output: (output.folder / ".snapshots" / ".DS_Store").write_bytes(b"x"),
}  # fmt: skip


@pytest.mark.parametrize("edit", SNAPSHOTS.values(), ids=list(SNAPSHOTS))
def test_a_snapshot_that_is_not_ours_is_none(ledger: Ledger, output: MadeOutput, edit: Edit) -> None:
    edit(output)
    take_over(ledger, output)
    assert {name: states(ledger)[name] for name in PAID} == dict.fromkeys(PAID, COLLECTED)


OWNERS: dict[str, Edit] = {
    "nested": lambda output: output.owner.write_text(DEEP),
    "a name that leads outside": lambda output: output.edit_owner(production="../../x"),
    "a name with an escape sequence": lambda output: output.edit_owner(production="x\x1b[31m"),
    "a time without a zone": lambda output: output.edit_owner(published_at="2026-11-28T13:10:45"),
    "a count below nothing": lambda output: output.edit_owner(published_seq=-1),
    "a format that is no number": lambda output: output.edit_owner(format=float("nan")),
}


@pytest.mark.parametrize("edit", OWNERS.values(), ids=list(OWNERS))
def test_an_owner_file_that_is_not_ours_is_named(ledger: Ledger, output: MadeOutput, edit: Edit) -> None:
    edit(output)
    with pytest.raises(SoraPipelineError, match=r"\.sora-pipeline\.json is damaged"):
        take_over(ledger, output)
    assert ledger.productions.all() == []


PIPES: dict[str, Callable[[MadeOutput], Path]] = {
    "owner": lambda output: output.owner,
    "manifest": lambda output: output.manifest,
    "snapshot": lambda output: output.snapshot,
    "sidecar": lambda output: (output.manifest.unlink(), output.sidecar())[1],
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("device", [False, True], ids=["pipe", "device"])
@pytest.mark.parametrize("place", PIPES.values(), ids=list(PIPES))
def test_a_file_without_an_end_is_not_read(
    ledger: Ledger, output: MadeOutput, place: Callable[[MadeOutput], Path], device: bool
) -> None:
    path = place(output)
    path.unlink()
    if device:
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    with pytest.raises(
        SoraPipelineError, match=f"{path.name} could not be read: a pipe or a device stands in its place"
    ):
        take_over(ledger, output)


@pytest.mark.parametrize("name", ["..\\..", "\x1b[31mred", os.fsdecode(b"\xff"), "x y\n"])
def test_folders_that_are_no_clips_are_no_clips(ledger: Ledger, output: MadeOutput, name: str) -> None:
    output.manifest.unlink()
    output.snapshot.unlink()
    for folder in (".sidecars", "videos"):
        (output.folder / folder / name).mkdir()
        (output.folder / folder / name / "x.json").write_text("{}")
    take_over(ledger, output)
    assert {each.clip_id for each in ledger.attempts.of_production("taken")} == set(PAID)


def test_a_folder_that_is_a_link_is_not_cleared(output: MadeOutput, tmp_path: Path) -> None:
    """What is old in ``.staging`` is removed; it led into somebody's own folder."""
    precious = tmp_path / "home" / "precious"
    precious.parent.mkdir()
    precious.touch()
    os.utime(precious, (1, 1))
    (output.folder / ".staging").symlink_to(precious.parent)
    OutputStore(str(output.folder)).clear_staging()
    assert precious.exists()


def test_nothing_is_paid_for_a_clip_that_waits(ledger: Ledger, output: MadeOutput) -> None:
    take_over(ledger, output)
    assert states(ledger)[UNPAID] is None
