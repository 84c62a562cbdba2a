"""Copies delivered videos to where people want them, under names of their choice, with a table beside them.

Nothing that is there is ever overwritten, and the output itself stays as it is.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.columns import only_alike
from sora_pipeline.manifest.csv_file import CsvFile
from sora_pipeline.manifest.output_csv import csv_cell
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.export_names import (
    USUAL_NAME,
    ExportError,
    FileNames,
    NoColumnError,
    PresentNames,
    folded,
)
from sora_pipeline.production.intake import newest_invalid_rows
from sora_pipeline.production.surveys import Survey, surveying
from sora_pipeline.settings import Settings
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore
from sora_pipeline.uris import same_place

TABLE_COLUMNS = ("file", "production", "clip_id", "prompt", "model", "size", "duration", "cost_usd", "sha256")
_BEGINNINGS = {"csv": "\ufefffile,production,clip_id,".encode(), "jsonl": b'{"file": "'}
"""How tables of ours begin: another file of that name is somebody's own."""


@dataclass(slots=True)
class Exported:
    """What an export did.

    Attributes:
        copied: Names of the files that are there now and were not before.
        present: Names of those that were there already.
        in_the_way: Names of other files that some file system takes for a video's own; they were left alone.
        table: The name of the table beside them.
    """

    copied: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    in_the_way: list[str] = field(default_factory=list)
    table: str = ""


def export(
    ledger: Ledger,
    production: Production,
    settings: Settings,
    target: str,
    *,
    names: str = USUAL_NAME,
    table: str = "csv",
    chosen: Mapping[str, str | None] | None = None,
    show: Callable[[int, int], None] = lambda done, of: None,
) -> Exported:
    """Copy a production's delivered videos.

    Args:
        ledger: The ledger.
        production: The production.
        settings: The settings.
        target: The folder or fsspec URI that they go to.
        names: The template of their names.
        table: ``csv`` or ``jsonl``: what the table of all of them is written as, ``<production>-export.csv`` for instance.
        chosen: Only clips of these ids, and only while they have this very video; None: all that are delivered.
        show: Called after each file, with how many are done, of how many.

    Raises:
        ExportError: the template cannot be used, two clips would have one name, nothing is delivered, or the target is in an output.
        StoreError: something cannot be read or written; what was copied before stays.
    """
    source, to = OutputStore(production.output_uri), OutputStore(target)
    _require_apart(ledger, to, ["."])
    exported = Exported(table=f"{production.production_id}-export.{table}")
    if (
        to.exists(exported.table)
        and not to.first_bytes(exported.table, len(_BEGINNINGS[table])) == _BEGINNINGS[table]
    ):
        raise ExportError(
            f"{to.uri_of(exported.table)} is there, and is no table of an export; move it away, or name another folder. Nothing was copied"
        )
    there = PresentNames(to)
    with surveying(ledger, production, settings) as survey:
        carried = list(survey.snapshot.carried_columns)
        file_names = _names_of(
            production, survey, FileNames(names, carried, production.production_id), chosen
        )
        _require_apart(ledger, to, {str(PurePosixPath(name).parent) for name in file_names.values()})
        with to.explaining(), to.staged_file() as staged:
            with _Table(table, staged, carried) as write:
                for done, (clip, outcome) in enumerate(_delivered(survey, chosen), 1):
                    name = file_names[clip.clip_id]
                    assert outcome.file_name is not None
                    kept, name = _copy(source, outcome.file_name, there, name, _sha256(outcome))
                    getattr(exported, kept).append(name)
                    if kept != "in_the_way":
                        write(name, production.production_id, clip, outcome)
                    show(done, len(file_names))
            to.replace_file(staged, exported.table)
    _remove_empty_staging(to)
    return exported


def require_columns(productions: Sequence[Production], names: str) -> None:
    """Refuse a template of names before anything is copied of whichever production.

    Args:
        productions: Those that are to be exported.
        names: The template.

    Raises:
        ExportError: it cannot be used, or one of their manifests carries no such column through.
        StoreError: an output cannot be read.
    """
    carried = {each.production_id: newest_invalid_rows(each).carried_columns for each in productions}
    for name, columns in carried.items():
        try:
            FileNames(names, columns, name)
        except NoColumnError as error:
            having = [other for other, its in carried.items() if only_alike(error.column, its)]
            if not having:
                raise
            facts = {"productions": ", ".join(having)}
            raise NoColumnError(str(error), error.column, "column_of_others", **facts) from None


def _require_apart(ledger: Ledger, to: OutputStore, folders: Iterable[str]) -> None:
    """Refuse to put anything into an output, where names mean something: by way of links neither."""
    outputs = {
        same_place(OutputStore(each.output_uri).uri): each.production_id for each in ledger.productions.all()
    }
    for folder in sorted(folders):
        uri = to.uri if folder == "." else f"{to.uri.rstrip('/')}/{folder}"
        place = f"{same_place(uri)}/"
        for output, production in outputs.items():
            if place.startswith(f"{output}/"):
                raise ExportError(
                    f"{uri} is in the output of the production {production}; name another folder. Nothing was copied"
                )


def _delivered(survey: Survey, chosen: Mapping[str, str | None] | None) -> Iterator[tuple[Clip, ClipOutcome]]:
    for stretch in survey.clips():
        for clip, outcome in stretch:
            delivered = outcome.status is ClipStatus.DELIVERED and outcome.file_name is not None
            if delivered and (chosen is None or chosen.get(clip.clip_id) == outcome.file_name):
                yield clip, outcome


def _names_of(
    production: Production, survey: Survey, names: FileNames, chosen: Mapping[str, str | None] | None
) -> dict[str, str]:
    """The name of each clip's video, before anything is copied."""
    of_names: dict[str, str] = {}
    of_clips: dict[str, str] = {}
    for clip, _ in _delivered(survey, chosen):
        name = names.of(production.production_id, clip)
        if (other := of_names.setdefault(folded(name), clip.clip_id)) != clip.clip_id:
            raise ExportError(_same_name(other, of_clips[other], clip.clip_id, name))
        of_clips[clip.clip_id] = name
    for clip_id, name in of_clips.items():
        for folder in PurePosixPath(folded(name)).parents:
            if named := of_names.get(str(folder)):
                raise ExportError(
                    f"{of_clips[named]} would be the video of the clip {named}, and the folder of the clip {clip_id}; name them "
                    "otherwise. Nothing was copied"
                )
    if not of_clips:
        raise ExportError(
            f"{production.production_id} has no delivered clip{'' if chosen is None else ' among those that were chosen'}; "
            "nothing was copied"
        )
    return of_clips


def _same_name(clip_id: str, name: str, other_id: str, other: str) -> str:
    """What is wrong where two clips would have one name."""
    if name == other:
        would = f"would both be {name}"
    else:
        would = f"would be {name} and {other}, which are the same name where upper and lower case are not told apart"
    return f"the clips {clip_id} and {other_id} {would}; have the name hold {{clip_id}}. Nothing was copied"


def _copy(
    source: OutputStore, file_name: str, there: PresentNames, name: str, sha256: str | None
) -> tuple[str, str]:
    """Copy one video; in a word, what became of it, and the name that this is said of."""
    to = there.store
    if found := there.alike(name):
        same = [each for each in found if to.sha256(each) == sha256]
        return ("present", same[0]) if same else ("in_the_way", found[0])
    with to.staged_file() as staged:
        source.copy_to(file_name, staged)
        try:
            to.put_file(staged, name)
        except FileExistsError:  # somebody was quicker
            return ("present" if to.sha256(name) == sha256 else "in_the_way"), name
    return "copied", name


def _sha256(outcome: ClipOutcome) -> str | None:
    return None if outcome.facts is None else outcome.facts.sha256


class _Table:
    """Writes a row for each video, and is called with each."""

    def __init__(self, kind: str, path: Any, carried: list[str]) -> None:
        self._carried = [name for name in carried if name not in TABLE_COLUMNS]
        self._csv: CsvFile | None = None
        self._jsonl: IO[str] | None = None
        if kind == "csv":
            self._csv = CsvFile(path, [*TABLE_COLUMNS, *self._carried], bom=True)
        else:
            self._jsonl = path.open("w", encoding="utf-8")

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, *_: object) -> None:
        if self._csv is not None:
            with self._csv:
                pass
        if self._jsonl is not None:
            self._jsonl.close()

    def __call__(self, name: str, production_id: str, clip: Clip, outcome: ClipOutcome) -> None:
        values = (
            name,
            production_id,
            clip.clip_id,
            clip.prompt,
            clip.model,
            str(clip.size),
            clip.duration,
            outcome.cost_usd,
            _sha256(outcome),
        )
        if self._csv is not None:
            cells = [*map(csv_cell, values), *(csv_cell(clip.carried.get(each)) for each in self._carried)]
            self._csv.write([[cell] for cell in cells])
        if self._jsonl is not None:
            row = dict(zip(TABLE_COLUMNS, values, strict=True))
            row |= {each: clip.carried.get(each) for each in self._carried}
            self._jsonl.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _remove_empty_staging(store: OutputStore) -> None:
    if store.local_path(".staging") is not None:
        with suppress(OSError):  # another export is at work there
            store.staging_dir().rmdir()
