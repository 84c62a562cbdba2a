"""Puts a checked video into the output: an attempt's own name, a poster and a sidecar; never over a paid file.

Posters and sidecars live in hidden folders, so that loaders of video folders see videos and one manifest only.
"""

import hashlib
import itertools
import json
from dataclasses import asdict
from pathlib import Path

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt
from sora_pipeline.media.poster import poster_frame
from sora_pipeline.store import OutputStore
from sora_pipeline.video import StoredVideo, VideoFacts

SIDECARS = ".sidecars"


def store_video(
    store: OutputStore, clip: Clip, attempt: Attempt, staged: Path, facts: VideoFacts
) -> tuple[StoredVideo, bytes]:
    """Move a staged file under its final name.

    A file of its name is this attempt's own from before a crash: where it is whole, it is kept as the video.

    Returns:
        What is stored, and a poster frame as JPEG.

    Raises:
        StoreError: the output cannot take it; the staged file is still there.
    """
    poster = poster_frame(staged)
    name = _put(store, staged, f"{clip.clip_id}/{_attempt_name(clip, attempt)}", facts.sha256)
    store.replace_bytes(f".posters/{name}.jpg", poster)
    video = StoredVideo(
        file_name=f"videos/{name}.mp4",
        poster_path=f".posters/{name}.jpg",
        output_uri=store.uri,
        facts=facts,
    )
    store.replace_bytes(f"{SIDECARS}/{name}.json", _sidecar(clip, attempt, video))
    return video, poster


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
        "file_name": video.file_name,
        "poster_path": video.poster_path,
        **asdict(video.facts),
    }
    return json.dumps(facts, ensure_ascii=False, indent=2, default=str).encode() + b"\n"
