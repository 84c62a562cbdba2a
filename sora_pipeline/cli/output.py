"""What commands print: sentences, tables and JSON, to the right stream."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from sora_pipeline.advice import explained
from sora_pipeline.cli.terminal import Stream, console_of, styled, visible_json
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from sora_pipeline.clip import Clip
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
    from sora_pipeline.outcome import ClipOutcome
    from sora_pipeline.production.naming import Decided
    from sora_pipeline.production.progress import Progress
    from sora_pipeline.production.surveys import Survey

OK, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 3
BUILT_IN = ""
"""The name of the pipeline that commands work for: that of ``sora_pipeline.definitions``."""

stdout, stderr = Stream("stdout"), Stream("stderr")
console, errors = console_of(stdout), console_of(stderr, stderr=True)

_STYLES = {
    "delivered": "green",
    "failed": "red",
    "invalid": "red",
    "ambiguous": "yellow",
    "in_flight": "blue",
    "pending": "dim",
}


problems: list[str] = []
"""Everything that this process had to say about what the user can mend."""
printed_json: list[Any] = []
"""What went to standard output as JSON."""


def problem(sentence: str) -> None:
    """Something the user can mend, on standard error."""
    problems.append(sentence)
    errors.print(styled(("error:", "bold red"), f" {_indented(sentence)}"))


def note(sentence: str) -> None:
    """Something worth knowing, on standard error."""
    errors.print(_indented(sentence))


def _indented(sentence: str) -> str:
    """Lines after the first further in: a text of others with line breaks looks like no sentence of ours."""
    return sentence.replace("\n", "\n  ")


def in_words(error: SoraPipelineError | DBAPIError) -> str:
    """The sentence of an error that is no bug; a database may be locked, full, damaged or away at any moment."""
    if isinstance(error, SoraPipelineError):
        return explained(error)
    where = error.detail[0] if error.detail else "Dagster's database"
    return f"{where} cannot be used: {error.orig}. Nothing is lost that was written there; the same command goes on when it can be used"


def print_json(value: Any) -> None:
    """One JSON object on standard output, and nothing else."""
    printed_json.append(value)
    unicode = stdout.encoding.lower().replace("-", "") == "utf8"
    stdout.write(visible_json(json.dumps(value, ensure_ascii=not unicode, indent=2, default=str)) + "\n")


def row_problems(snapshot: "Snapshot") -> None:
    """Every problem of every row."""
    for row_problem in snapshot.problems:
        errors.print(styled(("✗", "red"), f" {row_problem.sentence(snapshot.manifest_uri)}"))


def reading_notes(snapshot: "Snapshot", decided: "Decided") -> list[str]:
    """What people should know about how a manifest was understood."""
    notes = []
    if decided.amends:
        notes.append(
            f"{snapshot.manifest_uri} mends rows of the production {decided.plan.production_id}; its other rows stay as they are"
        )
    if snapshot.carried_columns and not decided.amends:
        notes.append(f"carried through to the output as they are: {', '.join(snapshot.carried_columns)}")
    ignored = [name for name in snapshot.ignored_columns if not (decided.amends and name != "account")]
    if ignored:
        notes.append(
            f"left out, since the output manifest writes columns of these names itself: {', '.join(ignored)}"
        )
    notes += [image.sentence for image in snapshot.standing_images]
    return notes


def new_ledger_note(ledger: "Ledger", home: "Path", *, simulated: bool) -> list[str]:
    """What is worth knowing before the first clip of a ledger is paid for: others may know of clips that this one does not."""
    if simulated or ledger.productions.all():
        return []
    return [
        f"the ledger in {home} is new: what was made with another one is not known here, and would be paid for again. Home and outputs "
        "are in the folder that a command is called from, where DAGSTER_HOME and SORA_OUTPUT name no other"
    ]


def outcome_rows(survey: "Survey") -> list[dict[str, Any]]:
    """One JSON-able row a clip, invalid rows included."""
    rows: list[dict[str, Any]] = [
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
        for stretch in survey.clips()
        for _, outcome in stretch
    ]
    rows += [
        {
            "clip_id": bad.clip_id,
            "row_number": bad.row_number,
            "status": "invalid",
            "error_message": _reasons(bad),
        }
        for bad, _ in survey.invalid()
    ]
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


class Summary:
    """What became of each clip, in short: all of a few clips; of more than can be shown the trouble first.

    Args:
        survey: The production; gone through once.
        most: How many clips are shown.

    Attributes:
        counts: Rows by status, invalid ones included.
    """

    def __init__(self, survey: "Survey", most: int = 60) -> None:
        self.counts: Counter[str] = Counter()
        first: list[tuple[Clip, ClipOutcome]] = []
        delivered: list[tuple[Clip, ClipOutcome]] = []
        others: list[tuple[Clip, ClipOutcome]] = []
        for stretch in survey.clips():
            for row in stretch:
                status = row[1].status
                self.counts[str(status)] += 1
                for kept in (first, delivered if status is ClipStatus.DELIVERED else others):
                    if len(kept) < most:
                        kept.append(row)
        self._clips = self.counts.total()
        self._shown = first if self._clips <= most else (others + delivered)[:most]
        self._invalid = [bad for bad, _ in survey.invalid()]
        if self._invalid:
            self.counts[ClipStatus.INVALID] = len(self._invalid)

    def table(self) -> "Table":
        """As a table."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for name in ("clip", "status", "size", "s", "USD"):
            table.add_column(name, no_wrap=True, justify="right" if name in ("s", "USD") else "left")
        table.add_column("video, or why not", overflow="fold")
        for clip, outcome in self._shown:
            cost = "" if outcome.cost_usd is None else f"{outcome.cost_usd:.2f}"
            last = outcome.file_name or " ".join(filter(None, [outcome.error_kind, outcome.error_message]))
            status = styled((outcome.status, _STYLES[outcome.status]))
            table.add_row(outcome.clip_id, status, str(clip.size), str(clip.duration), cost, last)
        for bad in self._invalid:
            invalid = styled(("invalid", _STYLES["invalid"]))
            table.add_row(bad.clip_id or f"row {bad.row_number}", invalid, "", "", "", _reasons(bad))
        if left := self._clips - len(self._shown):
            table.add_row("…", f"{left} more, all delivered", "", "", "", "")
        return table


def _reasons(bad: "InvalidRow") -> str:
    return "; ".join(f"{row_problem.column}: {row_problem.message}" for row_problem in bad.problems)
