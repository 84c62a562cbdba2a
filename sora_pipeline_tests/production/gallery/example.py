"""A production of any length to look at: rows of every status and format, with real videos and posters beside the page."""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Production
from sora_pipeline.manifest.output import OutputRow
from sora_pipeline.manifest.problems import RowProblem
from sora_pipeline.manifest.snapshot import InvalidRow
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.gallery import GALLERY, gallery_page
from sora_pipeline.sandbox.rendering.encode import render
from sora_pipeline.sandbox.rendering.scene import Brief
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore
from sora_pipeline.uris import Uri
from sora_pipeline.video import VideoFacts

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CARRIED = ("campaign", "shot", "tags")
CAMPAIGNS = ("autumn", "winter", "spring sale")
IMAGE_SHA256 = "0f" * 32
WIDE, TALL = Size(1280, 720), Size(720, 1280)
ANIMALS = ("fox", "owl", "bear", "otter", "lynx", "heron", "badger")
PLACES = (
    "a quiet forest at dawn",
    "a harbour in the rain",
    "a desert road at noon",
    "a kitchen with brass pans",
)


def production_of(output: Path | str, **changes: Any) -> Production:
    """The production that the examples are of."""
    production = Production(
        production_id="spring",
        pipeline="",
        manifest_uri=Uri("/srv/spring.csv"),
        output_uri=str(output),
        account="sandbox",
        simulated=True,
        budget_micros=None,
        changed_at=NOON,
    )
    return replace(production, **changes)


def clip_row(
    number: int, status: ClipStatus = ClipStatus.DELIVERED, size: Size = WIDE, **changes: Any
) -> OutputRow:
    """One clip and how it stands; ``changes`` are to whichever of the two has the field."""
    animal, place = ANIMALS[number % len(ANIMALS)], PLACES[number % len(PLACES)]
    with_image = number % 5 == 0
    clip = Clip(
        clip_id=f"clip-{number:05}",
        row_number=number + 1,
        prompt=f"A {animal} walks through {place}, filmed from low above the ground with a 35 mm lens, shot {number}.",
        image=Uri("/srv/images/first.png") if with_image else None,
        image_sha256=IMAGE_SHA256 if with_image else None,
        model="sora-2-pro",
        simulated=True,
        duration=8,
        size=size,
        carried={
            "campaign": CAMPAIGNS[number % 3],
            "shot": number,
            "tags": ["a", "b"] if number % 4 == 0 else None,
        },
    )
    clip = replace(clip, **{name: value for name, value in changes.items() if hasattr(clip, name)})
    outcome = ClipOutcome(clip_id=clip.clip_id, status=status, **_standing(clip, number, status))
    return clip, replace(
        outcome, **{name: value for name, value in changes.items() if hasattr(outcome, name)}
    )


def _standing(clip: Clip, number: int, status: ClipStatus) -> dict[str, Any]:
    if status is ClipStatus.PENDING:
        return {
            "error_kind": "budget",
            "error_message": "It waits: $3.00 is left of the budget, and it takes $4.00.",
        }
    submitted = NOON + timedelta(seconds=number)
    known: dict[str, Any] = {
        "account": "sandbox",
        "provider": "sandbox",
        "prediction_id": f"pred-{number:05}",
        "attempts": 1 + (number % 9 == 0),
        "cost_usd": 4.0 + 4.0 * (number % 9 == 0),
        "submitted_at": submitted,
        "queue_s": 1.5,
        "run_id": "run-1",
    }
    if status is ClipStatus.FAILED:
        return known | {
            "error_kind": "content_policy",
            "error_message": "The provider refused the prompt: it names a person.",
        }
    if status is ClipStatus.AMBIGUOUS:
        return known | {
            "error_kind": "no_answer",
            "error_message": "The answer to its submit was lost; it may have been billed.",
        }
    if status is ClipStatus.IN_FLIGHT:
        return known | {"provider_status": "processing"}
    name = f"{clip.clip_id}/{clip.clip_id}-1-{hashlib.sha256(clip.clip_id.encode()).hexdigest()[:8]}"
    facts = VideoFacts(
        2_345_678, "ab" * 32, clip.size.width, clip.size.height, 30.0, 240, 8.0, "h264", True, False
    )
    return known | {
        "file_name": f"videos/{name}.mp4",
        "poster_path": f".posters/{name}.jpg",
        "facts": facts,
        "provider_status": "succeeded",
        "completed_at": submitted + timedelta(minutes=2),
        "stored_at": submitted + timedelta(minutes=2, seconds=3),
        "render_s": 118.456,
    }


def invalid_row(number: int, **values: Any) -> OutputRow:
    """A row that cannot be made."""
    problem = RowProblem(number + 1, "duration", "5", "is not a duration of sora-2-pro", "4, 8 or 12")
    row = {"prompt": f"A bear, shot {number}", "duration": 5, "campaign": "winter", **values}
    return InvalidRow(number + 1, None, row, (problem,)), f"row-{number:08x}"


def rows_of(count: int, *, tall: int = 5) -> Iterator[OutputRow]:
    """That many rows of every kind; one in ``tall`` stands upright."""
    for number in range(count):
        size = TALL if number % tall == 0 else WIDE
        if number % 50 == 13:
            yield invalid_row(number)
        else:
            status = {
                7: ClipStatus.FAILED,
                29: ClipStatus.AMBIGUOUS,
                31: ClipStatus.IN_FLIGHT,
                33: ClipStatus.PENDING,
            }
            yield clip_row(number, status.get(number % 50, ClipStatus.DELIVERED), size)


def publish_gallery(
    folder: Path | str,
    rows: Iterable[OutputRow],
    *,
    now: datetime = NOON,
    columns: tuple[str, ...] = CARRIED,
    **changes: Any,
) -> bytes:
    """Write the gallery of these rows as a publish does; the page."""
    store = OutputStore(str(folder))
    page = gallery_page(store, production_of(folder, **changes), rows, columns, now)
    store.replace_bytes(GALLERY, page)
    return page


def add_media(folder: Path, rows: Iterable[OutputRow]) -> None:
    """Real posters, each its own, and real videos, one of each format, for the rows that are delivered."""
    from PIL import Image, ImageDraw, ImageFont

    folder.mkdir(parents=True, exist_ok=True)
    images = folder / ".images"
    images.mkdir(exist_ok=True)
    Image.linear_gradient("L").resize((480, 270)).save(images / f"{IMAGE_SHA256}.jpg")
    made: dict[Size, Path] = {}
    for number, (clip, outcome) in enumerate(rows):
        if not (
            isinstance(clip, Clip)
            and isinstance(outcome, ClipOutcome)
            and outcome.file_name
            and outcome.poster_path
        ):
            continue
        video, poster = folder / outcome.file_name, folder / outcome.poster_path
        if clip.size not in made:
            made[clip.size] = folder / f".{clip.size}.mp4"
            render(
                Brief(
                    out=str(made[clip.size]),
                    prompt="a fox",
                    caption="",
                    seed="1",
                    image=None,
                    width=clip.size.width,
                    height=clip.size.height,
                    duration=2,
                    fps=12,
                )
            )
        for path in (video, poster):
            path.parent.mkdir(parents=True, exist_ok=True)
        video.hardlink_to(made[clip.size])
        picture = Image.new(
            "RGB",
            (320, 320 * clip.size.height // clip.size.width),
            (number * 37 % 200, number * 91 % 200, 120),
        )
        ImageDraw.Draw(picture).text((20, 20), str(number), font=ImageFont.load_default(60), fill="white")
        content = io.BytesIO()
        picture.save(content, "JPEG", quality=80)
        poster.write_bytes(content.getvalue())
