"""What commands print: sentences, tables and JSON, to the right stream."""

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    from rich.table import Table

    from sora_pipeline.manifest.snapshot import Snapshot
    from sora_pipeline.outcome import ClipOutcome
    from sora_pipeline.production.naming import Decided
    from sora_pipeline.production.progress import Progress

OK, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 3
BUILT_IN = ""
"""The name of the pipeline that commands work for: that of ``sora_pipeline.definitions``."""

_WIDE = 200
"""Columns where nobody looks: a log or a file has no edge at which to break lines."""


def _console(stderr: bool) -> Console:
    made = Console(stderr=stderr, highlight=False, soft_wrap=True, emoji=False)
    if not made.is_terminal:
        made.width = _WIDE
    return made


console = _console(stderr=False)
errors = _console(stderr=True)

_STYLES = {
    "delivered": "green",
    "failed": "red",
    "invalid": "red",
    "ambiguous": "yellow",
    "in_flight": "blue",
    "pending": "dim",
}


def problem(sentence: str) -> None:
    """Something the user can mend, on standard error."""
    errors.print(f"[bold red]error:[/] {plain(sentence)}")


def note(sentence: str) -> None:
    """Something worth knowing, on standard error."""
    errors.print(plain(sentence))


def print_json(value: Any) -> None:
    """One JSON object on standard output, and nothing else."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def row_problems(snapshot: "Snapshot") -> None:
    """Every problem of every row."""
    for row_problem in snapshot.problems:
        errors.print(f"[red]✗[/] {plain(row_problem.sentence(snapshot.manifest_uri))}")


def reading_notes(snapshot: "Snapshot", decided: "Decided") -> list[str]:
    """What people should know about how a manifest was understood."""
    notes = []
    if decided.amends:
        notes.append(
            f"{snapshot.manifest_uri} mends rows of the production {decided.plan.production_id}; its other rows stay as they are"
        )
    ignored = [name for name in snapshot.ignored_columns if not (decided.amends and name != "account")]
    if ignored:
        notes.append(
            f"left out, since the output manifest writes columns of these names itself: {', '.join(ignored)}"
        )
    notes += [image.sentence for image in snapshot.standing_images]
    return notes


def outcome_rows(snapshot: "Snapshot", outcomes: "list[ClipOutcome]") -> list[dict[str, Any]]:
    """One JSON-able row a clip, invalid rows included."""
    rows = [
        {
            "clip_id": outcome.clip_id,
            "status": str(outcome.status),
            "video_path": outcome.video_path,
            "cost_usd": outcome.cost_usd,
            "attempts": outcome.attempts,
            "error_kind": outcome.error_kind,
            "error_message": outcome.error_message,
            "prediction_id": outcome.prediction_id,
        }
        for outcome in outcomes
    ]
    for bad in snapshot.invalid:
        reasons = "; ".join(f"{row_problem.column}: {row_problem.message}" for row_problem in bad.problems)
        rows.append(
            {
                "clip_id": bad.clip_id,
                "row_number": bad.row_number,
                "status": "invalid",
                "error_message": reasons,
            }
        )
    return rows


def production_facts(look: "Progress") -> dict[str, Any]:
    """How far a production is, as JSON-able values."""
    return {
        "production": look.production.production_id,
        "manifest": look.production.manifest_uri,
        "output": look.production.output_uri,
        "clips": look.clips,
        "pipeline": look.production.pipeline,
        "account": look.production.account,
        "simulated": look.production.simulated,
        "counts": {str(status): count for status, count in look.counts.items()},
        "at_work": {str(state): count for state, count in look.at_work.items()},
        "spent_usd": float(look.spending.spent_usd),
    }


def summary_table(snapshot: "Snapshot", outcomes: "list[ClipOutcome]", *, most: int = 60) -> "Table":
    """What became of each clip; trouble first where there are too many to show."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in ("clip", "status", "size", "s", "USD"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("s", "USD") else "left")
    table.add_column("video, or why not", overflow="fold")
    clips = {clip.clip_id: clip for clip in snapshot.clips}
    ordered = sorted(outcomes, key=lambda outcome: outcome.status is ClipStatus.DELIVERED)
    shown = outcomes if len(outcomes) <= most else ordered[:most]
    for outcome in shown:
        clip, style = clips[outcome.clip_id], _STYLES[outcome.status]
        cost = "" if outcome.cost_usd is None else f"{outcome.cost_usd:.2f}"
        last = outcome.file_name or " ".join(filter(None, [outcome.error_kind, outcome.error_message]))
        table.add_row(
            outcome.clip_id,
            f"[{style}]{outcome.status}[/]",
            str(clip.size),
            str(clip.duration),
            cost,
            plain(last),
        )
    for bad in snapshot.invalid:
        reasons = "; ".join(f"{row_problem.column}: {row_problem.message}" for row_problem in bad.problems)
        table.add_row(bad.clip_id or f"row {bad.row_number}", "[red]invalid[/]", "", "", "", plain(reasons))
    if len(shown) < len(outcomes):
        table.add_row("…", f"{len(outcomes) - len(shown)} more, all delivered", "", "", "", "")
    return table


def plain(text: str) -> str:
    """Text that rich takes as it is, brackets included."""
    return text.replace("[", "\\[")
