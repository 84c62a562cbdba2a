"""Errors of one clip that nothing here foresees: what is said of them, and that they stay with their clip."""

import asyncio
import traceback
from collections.abc import Awaitable, Iterable
from pathlib import Path

from sora_pipeline.uris import without_secrets

UNEXPECTED = "unexpected"
"""The error kind of what nothing foresees."""


def described(error: Exception) -> str:
    """An unexpected error in a sentence: its type, its text without what may be secret in addresses, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    text = " ".join(without_secrets(str(error)).split())[:300]
    return f"unexpected {type(error).__name__}{where}{f': {text}' if text else ''}"


async def to_the_end(calls: Iterable[Awaitable[None]]) -> None:
    """Await all of them, whatever becomes of each; then raise the first error.

    Not a task group: that would end all others with the first error, and one clip's trouble is no other clip's.
    """
    for ended in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended
