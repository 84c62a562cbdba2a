"""What an attempt asked the provider for: its row may say something else by now."""

from dataclasses import replace

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger import Attempt


def submitted_clip(clip: Clip, attempt: Attempt) -> Clip:
    """The clip as it was when the attempt was submitted, as far as that is known.

    Args:
        clip: The clip as its manifest wants it now.
        attempt: One of its attempts.
    """
    asked = attempt.submission.request
    if attempt.fingerprint == clip.fingerprint or not asked:
        return clip
    try:
        return replace(
            clip,
            prompt=str(asked.get("prompt") or ""),
            # Of the image only the hash is noted; where it was, the manifest may say otherwise by now.
            image=None,
            image_sha256=asked.get("image_sha256"),
            model=attempt.model,
            duration=int(asked["duration"]),
            size=Size.parse(str(asked["size"])),
            parameters=dict(asked.get("parameters") or {}),
        )
    except (
        KeyError,
        TypeError,
        ValueError,
    ):  # noted by an earlier version, or put together again from outputs
        return clip
