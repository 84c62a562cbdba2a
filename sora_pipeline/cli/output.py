"""What commands print: sentences, tables and JSON, to the right stream."""

import itertools
import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted, currency, listed
from sora_pipeline.cli.tables import side_by_side
from sora_pipeline.cli.terminal import Stream, console_of, styled, visible_json
from sora_pipeline.errors import Reason, SoraPipelineError
from sora_pipeline.manifest.columns import PARAMETER_COLUMNS
from sora_pipeline.status import CANCELLED, ClipStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sora_pipeline.clip import Clip
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
    from sora_pipeline.outcome import ClipOutcome
    from sora_pipeline.production.naming import Decided
    from sora_pipeline.production.progress import Progress
    from sora_pipeline.production.surveys import Survey

OK, SOME_FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 3
AS_JSON: Any = typer.Option(False, "--json", help="One JSON object on standard output and nothing else.")
BUILT_IN = ""
"""The name of the pipeline that commands work for: that of ``sora_pipeline.definitions``."""

stdout, stderr = Stream("stdout"), Stream("stderr")
console, errors = console_of(stdout), console_of(stderr, stderr=True)

_Row = tuple[str, Text, str, str, str, str]
_NUMBERS = (3, 4)
"""Places of the columns that hold some."""
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


def warning(sentence: str) -> None:
    """What stops a production, said by a command that itself did what it was asked for, on standard error."""
    errors.print(styled(("warning:", "bold yellow"), f" {_indented(sentence)}"))


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
    notes = list(snapshot.understanding.sentences)
    if decided.amends:
        notes.append(
            f"{snapshot.manifest_uri} mends rows of the production {decided.plan.production_id}; its other rows stay as they are"
        )
    parameters = {*snapshot.understanding.parameters, *PARAMETER_COLUMNS}
    carried = [name for name in snapshot.carried_columns if name not in parameters]
    if carried and not decided.amends:
        notes.append(f"carried through to the output as they are: {', '.join(carried)}")
    ignored = [name for name in snapshot.ignored_columns if not (decided.amends and name != "account")]
    if ignored:
        notes.append(
            f"left out, since the output manifest writes columns of these names itself: {', '.join(ignored)}"
        )
    if snapshot.amended_ids:
        rows = counted(len(snapshot.amended_ids), "row stands", "rows stand")
        notes.append(
            f"{rows} as mended in another file ({listed(snapshot.amended_ids)}), and not as written here; a row counts "
            "again once it is changed here"
        )
    notes += [image.sentence for image in snapshot.standing_images]
    return notes


def leaving(ledger: "Ledger", snapshot: "Snapshot", decided: "Decided") -> Counter[str]:
    """How many clips of the production this manifest does not name, by how they stand: it takes the place of the one read before."""
    if decided.known is None or decided.amends:
        return Counter()
    from sora_pipeline.production.intake import unusable_ids

    named = itertools.chain((clip.clip_id for clip in snapshot.clips), set(unusable_ids(snapshot)))
    return ledger.clips.standings_without(decided.plan.production_id, named)


def leaving_note(rest: Counter[str], name: str) -> list[str]:
    """What becomes of the clips of a production that its manifest does not name any more."""
    if not rest:
        return []
    delivered = rest[ClipStatus.DELIVERED]
    of_these = f", {delivered} of them delivered," if delivered else ""
    return [
        f"{counted(rest.total(), 'clip')} of the production {name}{of_these} {'is' if rest.total() == 1 else 'are'} not in this manifest, which takes "
        "the place of the one read before: nothing more is made of them, and they leave output manifest and gallery; videos stay where they are. "
        "To leave that production as it is, give this manifest another --name"
    ]


def unusable_note(keys: "Sequence[str]") -> list[str]:
    """What becomes of pending clips whose mended rows cannot be used."""
    if not keys:
        return []
    clips = counted(len(keys), "clip is", "clips are")
    return [
        f"{clips} cancelled, since what the production's own manifest says is to be replaced, and the row here cannot be used: "
        f"{listed(keys)}. Mend the row, and run this file again"
    ]


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
            "row": bad.shown_number,
            "row_number": bad.row_number,
            "place": bad.place,
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
        cancelled: How many of the failed ones a person cancelled.
        spent_usd: What these clips have cost.
        invalid: The rows that cannot be made.
    """

    def __init__(self, survey: "Survey", most: int = 60) -> None:
        self.counts: Counter[str] = Counter()
        self.cancelled = 0
        self.spent_usd = Decimal(0)
        self._waiting: dict[tuple[str, str], int] = {}
        first: list[tuple[Clip, ClipOutcome]] = []
        delivered: list[tuple[Clip, ClipOutcome]] = []
        others: list[tuple[Clip, ClipOutcome]] = []
        for stretch in survey.clips():
            for row in stretch:
                status = row[1].status
                self.counts[str(status)] += 1
                self.cancelled += row[1].error_kind == CANCELLED
                self.spent_usd += Decimal(str(row[1].cost_usd or 0))
                if (reason := _shared_reason(row[1])) is not None:
                    self._waiting[reason] = self._waiting.get(reason, 0) + 1
                for kept in (first, delivered if status is ClipStatus.DELIVERED else others):
                    if len(kept) < most:
                        kept.append(row)
        self._shown = first if self.counts.total() <= most else (others + delivered)[:most]
        self.invalid = [bad for bad, _ in survey.invalid()]
        self._shown_invalid = self.invalid[:most]
        if self.invalid:
            self.counts[ClipStatus.INVALID] = len(self.invalid)

    def table(self, width: int | None) -> Text:
        """As a table; where it does not fit into so many columns, each clip as a line, and below it its video, or why it has none."""
        unit = currency(simulated=any(clip.simulated for clip, _ in self._shown))
        rows = list(self._rows())
        header = ("clip", "status", "size", "s", unit, "video, or why not")
        return side_by_side(header, rows, numbers=_NUMBERS, width=width) or _as_lines(rows, unit)

    def _rows(self) -> "Iterator[_Row]":
        for clip, outcome in self._shown:
            cost = "" if outcome.cost_usd is None else f"{outcome.cost_usd:.2f}"
            told_below = self._waiting.get(_shared_reason(outcome) or ("", ""), 0) > 1
            message = None if told_below else outcome.error_message
            last = outcome.file_name or ": ".join(filter(None, [outcome.error_kind, message]))
            status = styled((outcome.status, _STYLES[outcome.status]))
            yield outcome.clip_id, status, str(clip.size), str(clip.duration), cost, last
        for bad in self._shown_invalid:
            invalid = styled(("invalid", _STYLES["invalid"]))
            yield bad.clip_id or bad.place, invalid, "", "", "", _reasons(bad)
        shown = Counter(str(outcome.status) for _, outcome in self._shown)
        shown[ClipStatus.INVALID] = len(self._shown_invalid)
        if left := self.counts - shown:
            each_of = ", ".join(f"{count:,} {status}" for status, count in sorted(left.items()))
            yield "…", styled(f"not listed: {each_of}"), "", "", "", ""

    def reasons(self, stopped: Reason | None) -> list[str]:
        """Why clips wait, where several wait for the same, and what has stopped the production does not say so already."""
        said = "" if stopped is None else explained(stopped)
        return [
            f"{counted(count, 'clip waits', 'clips wait')} ({kind}): {message}"
            for (kind, message), count in self._waiting.items()
            if count > 1 and message != said and (stopped is None or stopped.code != kind)
        ]


def _as_lines(rows: "list[_Row]", unit: str) -> Text:
    lines = []
    for clip, status, size, seconds, cost, last in rows:
        facts = [size, f"{seconds} s" if seconds else "", f"{cost} {unit}" if cost else ""]
        lines.append(
            styled((clip, "bold"), "  ").append_text(status).append("  ".join(["", *filter(None, facts)]))
        )
        if last:
            lines.append(styled(f"  {last}"))
    return Text("\n").join(lines)


def _shared_reason(outcome: "ClipOutcome") -> tuple[str, str] | None:
    """Kind and text of what a pending clip waits for."""
    if outcome.status is not ClipStatus.PENDING or not outcome.error_message:
        return None
    return outcome.error_kind or "", outcome.error_message


def _reasons(bad: "InvalidRow") -> str:
    return "; ".join(f"{row_problem.column}: {row_problem.message}" for row_problem in bad.problems)
