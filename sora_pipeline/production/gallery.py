"""The gallery: one HTML page beside the videos where people look instead of read."""

from collections import Counter
from importlib import resources

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Production
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.outcome import ClipOutcome


def gallery_html(
    production: Production, snapshot: Snapshot, outcomes: list[ClipOutcome], counts: Counter[str]
) -> bytes:
    """The page; it refers to videos and posters by paths relative to itself, so the folder can be moved."""
    from jinja2 import Environment

    clips = {clip.clip_id: clip for clip in snapshot.clips}
    template = (resources.files("sora_pipeline.production") / "templates" / "gallery.html").read_text("utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    return page.render(
        production=production.production_id,
        manifest=production.manifest_uri,
        published=production.changed_at,
        counts=sorted(counts.items()),
        cost=sum(outcome.cost_usd or 0 for outcome in outcomes),
        cards=[(clips[outcome.clip_id], outcome) for outcome in sorted(outcomes, key=_troubles_first)],
        invalid=snapshot.invalid,
        facts=_facts,
    ).encode()


def _troubles_first(outcome: ClipOutcome) -> tuple[bool, str]:
    return outcome.status == "delivered", outcome.clip_id


def _facts(clip: Clip, outcome: ClipOutcome) -> str:
    parts = [f"{clip.duration} s", str(clip.size), clip.model]
    if outcome.cost_usd is not None:
        parts.append(f"${outcome.cost_usd:.2f}")
    if outcome.attempts > 1:
        parts.append(f"{outcome.attempts} attempts")
    return " · ".join(parts)
