"""Puts a checked video into the output: an attempt's own name, a poster and a sidecar; never over a paid file.

Posters, sidecars and copies of input images live in hidden folders, so that loaders of video folders see videos and one manifest only.
"""

import hashlib
import itertools
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt
from sora_pipeline.media.frame_pictures import FramePictures
from sora_pipeline.media.poster import poster_frame
from sora_pipeline.production.context import Say
from sora_pipeline.production.input_images import input_image_name, small_input_image
from sora_pipeline.production.unexpected import described
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.video import StoredVideo, VideoFacts

SIDECARS = ".sidecars"
SIDECAR_FORMAT = 1
"""What ``docs/sidecar.schema.json`` describes; sidecars of earlier versions do not say it, and are the same otherwise."""


def store_video(
    store: OutputStore,
    clip: Clip,
    attempt: Attempt,
    staged: Path,
    facts: VideoFacts,
    pictures: FramePictures,
    say: Say,
) -> tuple[StoredVideo, bytes | None]:
    """Move a staged file under its final name.

    A file of its name is this attempt's own from before a crash: where it is whole, it is kept as the video. What
    goes with it (a poster, a storyboard, a sidecar and a copy of its image) may fail without failing it: the video is what
    was paid for.

    Args:
        store: The output.
        clip: What was asked for.
        attempt: The attempt that made it.
        staged: The file.
        facts: What it is.
        pictures: What came of its frames while it was verified; a file that was not decoded is looked into for a poster.
        say: Takes a sentence about what went wrong beside the video.

    Returns:
        What is stored, and a poster frame as JPEG where there is one.

    Raises:
        StoreError: the output cannot take it; the staged file is still there.
    """
    name = _put(store, staged, f"{clip.clip_id}/{_attempt_name(clip, attempt)}", facts.sha256)
    jpeg = _put_beside(
        store, f".posters/{name}.jpg", lambda: pictures.poster.jpeg or poster_frame(staged), attempt, say
    )
    video = StoredVideo(
        file_name=f"videos/{name}.mp4",
        poster_path=None if jpeg is None else f".posters/{name}.jpg",
        output_uri=store.uri,
        facts=facts,
    )
    _keep_storyboard(store, video, pictures, attempt, say)
    _put_beside(store, f"{SIDECARS}/{name}.json", lambda: _sidecar(clip, attempt, video), attempt, say)
    _keep_input_image(store, clip, attempt, say)
    return video, jpeg


def _keep_storyboard(
    store: OutputStore, video: StoredVideo, pictures: FramePictures, attempt: Attempt, say: Say
) -> None:
    if pictures.storyboard.frames:
        _put_beside(store, video.storyboard_path, pictures.storyboard.strip, attempt, say)


def _keep_input_image(store: OutputStore, clip: Clip, attempt: Attempt, say: Say) -> None:
    image = input_image_name(clip)
    if image is None:
        return
    with suppress(StoreError):
        if store.exists(image):  # many clips begin with the same one
            return
    _put_beside(store, image, lambda: small_input_image(clip), attempt, say)


def _put_beside(
    store: OutputStore, name: str, make: Callable[[], bytes], attempt: Attempt, say: Say
) -> bytes | None:
    """Store what goes with a video; None where that did not work."""
    try:
        content = make()
        store.replace_bytes(name, content)
    except Exception as error:  # an odd file makes its decoder raise nearly anything
        reason = str(error) if isinstance(error, StoreError) else described(error)
        say(f"{attempt.clip_key}: its video is stored, but {name} is not: {reason}")
        return None
    return content


def _put(store: OutputStore, staged: Path, name: str, sha256: str) -> str:
    """Store under this name, or under a further one where the file there is another; never over it."""
    for number in itertools.count(1):
        tried = name if number == 1 else f"{name}-{number}"
        try:
            store.put_file(staged, f"videos/{tried}.mp4")
        except FileExistsError:
            if store.sha256(f"videos/{tried}.mp4") != sha256:
                continue
        return tried
    raise AssertionError("there is always a further number")


def _attempt_name(clip: Clip, attempt: Attempt) -> str:
    """The same attempt always gets the same name, and no other attempt ever does."""
    unique = hashlib.sha256(
        f"{attempt.account.provider}\n{attempt.submission.prediction_id}".encode()
    ).hexdigest()[:8]
    return f"{clip.clip_id}-{attempt.number}-{unique}"


def _sidecar(clip: Clip, attempt: Attempt, video: StoredVideo) -> bytes:
    """What made the file, beside the file: metadata inside it would invalidate its provenance."""
    facts = {
        "format": SIDECAR_FORMAT,
        "production": attempt.production_id,
        "clip_id": clip.clip_id,
        "prompt": clip.prompt,
        "image": clip.image,
        "image_sha256": clip.image_sha256,
        "model": clip.model,
        "model_returned": attempt.submission.model_returned,
        "account": attempt.account.name,
        "provider": attempt.account.provider,
        "simulated": attempt.account.simulated,
        "prediction_id": attempt.submission.prediction_id,
        "attempt": attempt.number,
        "fingerprint": attempt.fingerprint,
        "cost_usd": str(attempt.cost_usd),
        "carried": dict(clip.carried),
        "parameters": dict(clip.parameters),
        "file_name": video.file_name,
        "poster_path": video.poster_path,
        **asdict(video.facts),
    }
    return json.dumps(facts, ensure_ascii=False, indent=2, default=str).encode() + b"\n"
