"""The words of notifications, as Slack-compatible JSON: ``text`` for those who show nothing else, and ``blocks``."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted, usd
from sora_pipeline.ledger.spending import Spending
from sora_pipeline.media_server.public_links import public_address
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.progress import Progress
from sora_pipeline.production.publishing import GALLERY, PARQUET
from sora_pipeline.settings import Settings
from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import shown_uri

MOST_CLIPS = 20
CUT = "…"
"""Stands at the end of a text that was too long."""
SECTION_CHARS, HEADER_CHARS = 3000, 150
"""What Slack takes; it refuses a whole message for one longer text."""
_MOST_CHARS = (
    500  # of one text from elsewhere: even if every character has to be escaped, it fits its section
)
TROUBLES = (ClipStatus.FAILED, ClipStatus.AMBIGUOUS)

Message = dict[str, Any]


def finished_message(
    progress: Progress,
    counts: Counter[str],
    troubles: Sequence[ClipOutcome],
    spending: Spending,
    settings: Settings,
    video_manifest: Sequence[str],
) -> Message:
    """A production has settled, or was stopped early.

    Args:
        progress: How far it is, and why it stopped.
        counts: Rows by status, invalid ones included.
        troubles: The first ``MOST_CLIPS`` clips that failed or may have been billed for nothing.
        spending: What it comes to.
        settings: Those of its pipeline: addresses, for links.
        video_manifest: Key of the asset that shows it there.
    """
    production, ui_url = progress.production, settings.ui_url
    verb = "finished" if progress.stopped is None else "stopped early"
    title = f"{production.production_id} {verb}: {counts['delivered']} of {counted(counts.total(), 'clip')} delivered"
    budget = production.budget_usd
    cost = usd(spending.spent_usd, simulated=production.simulated)
    if budget is not None:
        cost += f", of a budget of {budget:.2f}"
    output = shown_uri(production.output_uri).rstrip("/")
    public = public_address(settings, output)
    links = [
        f"Gallery: `{escaped(f'{output}/{GALLERY}')}`"
        if public is None
        else _link(f"{public}/{GALLERY}", "Gallery"),
        f"Manifest: `{escaped(f'{output}/{PARQUET}')}`",
    ]
    if ui_url:
        links.append(_link(f"{ui_url.rstrip('/')}/assets/{'/'.join(video_manifest)}", "in Dagster"))
    facts = [
        f"*Of* `{escaped(shown_uri(production.manifest_uri))}`",
        f"*Clips* {', '.join(f'{count} {status}' for status, count in sorted(counts.items())) or 'none'}",
        f"*Cost* {cost}",
    ]
    blocks = [_header(title), _section("\n".join(facts))]
    why = "" if progress.stopped is None else escaped(explained(progress.stopped))
    if why:
        blocks.append(_section(f"*Why* {why}"))
    blocks += [
        _section(text) for text in _packed(_troubles(troubles, sum(counts[status] for status in TROUBLES)))
    ]
    blocks.append(_section("\n".join(links)))
    return {
        "text": f"{title}, {cost}: {escaped(shown_uri(production.manifest_uri))}{f'. {why}' if why else ''}",
        "blocks": blocks,
    }


def failed_run_message(
    job_name: str, run_id: str, clips: str | None, reason: str, ui_url: str | None
) -> Message:
    """A Dagster run failed.

    Args:
        job_name: The run's job.
        run_id: The run.
        clips: The clips it was over, as its tags say; None: it was over none.
        reason: Why; only the first line is shown.
        ui_url: Address of the Dagster UI, for the link.
    """
    title = f"Run failed: {job_name}"
    first_line = next((line for line in reason.splitlines() if line.strip()), "no reason was recorded")
    lines = [f"*Why* {escaped(first_line)}"]
    if clips is not None:
        lines.insert(0, f"*Clips* {escaped(clips)}")
    lines.append(
        _link(f"{ui_url.rstrip('/')}/runs/{run_id}", "the run in Dagster") if ui_url else f"Run `{run_id}`"
    )
    return {
        "text": f"{title}: {escaped(first_line)}",
        "blocks": [_header(title), *(_section(line) for line in lines)],
    }


def escaped(text: str) -> str:
    """One line of text from elsewhere, not too long, with the characters replaced that mean something to Slack."""
    line = re.sub(r"\s+", " ", text).strip()
    return escaped_characters(line if len(line) <= _MOST_CHARS else f"{line[: _MOST_CHARS - 1]}{CUT}")


def escaped_characters(text: str) -> str:
    """A text with the characters replaced that mean something to Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _troubles(troubles: Sequence[ClipOutcome], total: int) -> Iterator[str]:
    """A line a clip that failed or may have been billed for nothing."""
    for outcome in troubles:
        reason = (
            ": ".join(filter(None, [outcome.error_kind, outcome.error_message])) or "no reason was recorded"
        )
        yield f"• `{outcome.clip_id}` {outcome.status}: {escaped(reason)}"
    if total > len(troubles):
        yield f"and {total - len(troubles)} more"


def _packed(lines: Iterable[str]) -> Iterator[str]:
    """As many lines to a text as one section takes."""
    packed = ""
    for line in lines:
        if packed and len(packed) + 1 + len(line) > SECTION_CHARS:
            yield packed
            packed = line
        else:
            packed = f"{packed}\n{line}" if packed else line
    if packed:
        yield packed


def _link(url: str, words: str) -> str:
    return f"<{escaped(url)}|{words}>"


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": {"type": "plain_text", "text": text[:HEADER_CHARS]}}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}
