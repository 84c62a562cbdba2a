"""``sora-pipeline export``: delivered videos under names of one's own choice, with a table beside them."""

import shlex
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from sora_pipeline.amounts import counted, listed
from sora_pipeline.cli.output import AS_JSON, OK, SOME_FAILED, console, errors, print_json, problem
from sora_pipeline.cli.productions import PRODUCTION, selected
from sora_pipeline.production.export_names import folded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.production.exporting import Exported
    from sora_pipeline.settings import Settings


class TableFormat(StrEnum):
    """What the table of the exported videos is written as."""

    CSV = "csv"
    JSONL = "jsonl"


def export(
    target: str = typer.Argument(metavar="FOLDER", help="Where the videos go: path or fsspec URI."),
    production: list[str] = PRODUCTION,
    names: str = typer.Option(
        "{clip_id}.mp4",
        "--names",
        metavar="TEMPLATE",
        help="Of the files: {production}, {clip_id}, {row_number}, {take}, {model}, {size}, {duration} and the manifest's own "
        "columns, as in prompts; / makes folders. For example '{campaign}/{row_number:03}-{clip_id}.mp4'.",
    ),
    table: TableFormat = typer.Option(TableFormat.CSV, "--table", help="What the table beside them is."),
    picks: str | None = typer.Option(
        None,
        "--picks",
        metavar="FILE",
        help="The gallery's picks.csv: only the videos that are marked good in it.",
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Copy delivered videos. Nothing that is there is overwritten; exit code 1 where something else is in the way."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.manifest.picks import good_videos, read_picks
    from sora_pipeline.production.exporting import require_columns
    from sora_pipeline.uris import absolute_uri

    if not target.strip():
        raise typer.BadParameter("is empty; name a folder", param_hint="FOLDER")
    if picks is not None and not picks.strip():
        raise typer.BadParameter("is empty; name a file, or leave it out", param_hint="--picks")
    ledger, settings, _ = open_ledger()
    folder = absolute_uri(target)
    good = good_videos(read_picks(picks)) if picks else None
    meant = [
        chosen
        for chosen in selected(ledger, production)
        if (good is None or chosen.production_id in good)
        and (production or ledger.clips.counts(chosen.production_id, settings.max_attempts).delivered)
    ]
    require_columns(meant, names)
    done: dict[str, Exported] = {}
    for chosen in meant:
        name = chosen.production_id
        only = None if good is None else good[name]
        done[name] = _export(ledger, chosen, settings, folder, names=names, table=table, only=only)
        if not as_json:
            _say(name, done[name], folder)
    in_the_way = [each for exported in done.values() for each in exported.in_the_way]
    if in_the_way:
        problem(_what_is_in_the_way(in_the_way, done, names))
    if as_json:
        productions = {name: _as_json(exported, folder) for name, exported in done.items()}
        print_json({"target": folder, "productions": productions})
    elif not done:
        console.print("nothing is delivered so far")
    raise typer.Exit(SOME_FAILED if in_the_way else OK)


def _what_is_in_the_way(in_the_way: "Sequence[str]", done: "Mapping[str, Exported]", names: str) -> str:
    """Of videos that were not copied: for what, and how to have them all the same."""
    videos = f"something else is in the way of {counted(len(in_the_way), 'video')}"
    ours = {folded(name) for exported in done.values() for name in (*exported.copied, *exported.present)}
    if "{production}" not in names and len(done) > 1 and any(folded(name) in ours for name in in_the_way):
        return (
            f"{videos}, since productions have clips of the same names; none was overwritten: {listed(in_the_way)}. Have the names hold "
            f"the production: --names {shlex.quote('{production}/' + names)}"
        )
    other_names = (
        "other --names"
        if "{production}" in names
        else f"names that hold the production: --names {shlex.quote('{production}/' + names)}"
    )
    return (
        f"{videos} (another production's, for one, or one whose name differs in upper and lower case alone), and was left alone: "
        f"{listed(in_the_way)}. Name another folder, or {other_names}"
    )


def _export(
    ledger: "Ledger",
    production: "Production",
    settings: "Settings",
    folder: str,
    *,
    names: str,
    table: TableFormat,
    only: "Mapping[str, str | None] | None",
) -> "Exported":
    from sora_pipeline.production.exporting import export as export_production

    with errors.status("") as status:
        return export_production(
            ledger,
            production,
            settings,
            folder,
            names=names,
            table=table.value,
            chosen=only,
            show=lambda done, of: status.update(f"{done} of {counted(of, 'video')}"),
        )


def _say(name: str, exported: "Exported", folder: str) -> None:
    copied = counted(len(exported.copied), "video")
    present = counted(len(exported.present), "was there already", "were there already")
    more = f", {present}" if exported.present else ""
    console.print(f"{name}: {copied} into {folder}{more}; listed in {exported.table}")


def _as_json(exported: "Exported", folder: str) -> dict[str, object]:
    return {
        "copied": len(exported.copied),
        "present": len(exported.present),
        "in_the_way": exported.in_the_way,
        "table": f"{folder}/{exported.table}",
    }
