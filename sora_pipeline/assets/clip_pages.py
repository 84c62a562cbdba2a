"""What the page of a clip's partition shows: what was asked for, what came of it, and pictures that need no click.

The Dagster UI shows Markdown of less than 1,000 characters as it is, and hides what is longer behind a button; of HTML it shows nothing.
Pictures are therefore linked. Where nobody serves them, a tiny one is in the text itself.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

import dagster as dg

from sora_pipeline.assets import metadata
from sora_pipeline.assets.metadata import Done
from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt
from sora_pipeline.media.poster import data_uri, tiny_uri
from sora_pipeline.media_server.links import media_links
from sora_pipeline.media_server.object_links import object_link
from sora_pipeline.media_server.public_links import public_address
from sora_pipeline.production.input_images import input_image_name
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline.uris import is_http, without_secrets
from sora_pipeline.video import StoredVideo

MOST_CHARS_SHOWN = 999
"""Of Markdown that the UI shows without a click."""
MOST_COLUMNS = 40
_LONGEST_CELL = 500


class ClipPages:
    """Makes the metadata of clips' materializations.

    Args:
        runtime: Of the pipeline.
    """

    def __init__(self, runtime: PipelineRuntime) -> None:
        self._ledger, self._settings = runtime.ledger, runtime.settings
        self._links = media_links(runtime.settings, runtime.home)
        self._stores: dict[str, OutputStore] = {}

    def generation(self, attempt: Attempt, *, fresh: bool) -> Done:
        """A clip that has a prediction; ``fresh``: the run at hand submitted it."""
        done = metadata.generation(attempt, fresh=fresh)
        asked = _asked(self._clip(attempt))
        return Done({**asked, **done.metadata, **self._all_attempts(attempt)}, done.data_version)

    def video(self, attempt: Attempt, poster: bytes | None = None) -> Done:
        """A clip whose video is stored; ``poster``: JPEG bytes of a frame, where at hand."""
        done, clip, stored = metadata.video(attempt), self._clip(attempt), attempt.result.video
        shown = {} if stored is None else self._pictures(attempt, stored, poster)
        image = {} if stored is None or clip is None else self._input_image(attempt, stored, clip)
        facts = {**shown, **image, **_asked(clip), **done.metadata, **self._all_attempts(attempt)}
        return Done(facts, done.data_version)

    def _all_attempts(self, attempt: Attempt) -> dict[str, Any]:
        made = self._ledger.attempts.of_clips([attempt.clip_key])

        def alike(other: Attempt) -> bool:
            return other.account.simulated == attempt.account.simulated

        return {
            "attempts": len(made),
            "spent_usd": float(sum(each.cost_usd for each in made if each.billed and alike(each))),
        }

    def _clip(self, attempt: Attempt) -> Clip | None:
        """What the clip's row asks for, if it is still what this attempt made."""
        wanted = self._ledger.clips.wanted_among(attempt.production_id, [attempt.clip_id])
        clip = wanted.get(attempt.clip_id)
        return clip if clip is not None and clip.fingerprint == attempt.fingerprint else None

    def _pictures(self, attempt: Attempt, video: StoredVideo, poster: bytes | None) -> dict[str, Any]:
        """Pictures of the clip, and where it is played."""
        link = self._linking(attempt, video)
        if link is None:
            return _without_server(video, poster)
        play = link(video.file_name)
        shown: dict[str, Any] = {}
        if video.poster_path:
            shown["poster"] = dg.MetadataValue.md(f"[![poster]({link(video.poster_path)})]({play})")
        shown["play"] = dg.MetadataValue.url(play)
        if self._exists(video, video.storyboard_path):
            shown["storyboard"] = dg.MetadataValue.md(f"![storyboard]({link(video.storyboard_path)})")
        return shown

    def _linking(self, attempt: Attempt, video: StoredVideo) -> Callable[[str], str] | None:
        """Makes links to files of the clip's output; None: nobody is known to serve them."""
        public = public_address(self._settings, video.output_uri)
        if public is not None:
            return lambda path: f"{public}/{quote(path)}"
        return None if self._links is None else partial(self._links.to, attempt.production_id)

    def _input_image(self, attempt: Attempt, video: StoredVideo, clip: Clip) -> dict[str, Any]:
        if clip.image is None:
            return {}
        copy, link = input_image_name(clip), self._linking(attempt, video)
        if link is not None and copy is not None and self._exists(video, copy):
            return {"input_image": dg.MetadataValue.md(f"![input image]({link(copy)})")}
        # Not as a picture: the UI of whoever looks would ask a host of somebody's choice for it.
        shown = clip.image.shown
        return {
            "input_image": dg.MetadataValue.url(shown) if is_http(shown) else dg.MetadataValue.path(shown)
        }

    def _exists(self, video: StoredVideo, path: str) -> bool:
        with suppress(StoreError):
            store = self._stores.setdefault(video.output_uri, OutputStore(video.output_uri))
            return store.exists(path)
        return False


def _asked(clip: Clip | None) -> dict[str, Any]:
    """What the row says, as texts and under names of their own: a column may be called like what a lost ledger is made again from."""
    if clip is None:
        return {}
    columns = list(clip.carried.items())[:MOST_COLUMNS]
    return {"prompt": clip.prompt} | {
        f"column/{name}": without_secrets(str(value))[:_LONGEST_CELL]
        for name, value in columns
        if value not in (None, "")
    }


def _without_server(video: StoredVideo, poster: bytes | None) -> dict[str, Any]:
    """A tiny picture to be seen at once, the poster behind a click, and the object store's own page of the video."""
    shown: dict[str, Any] = {}
    if poster is not None:
        with suppress(Exception):  # of Pillow; a picture for people decides nothing
            if tiny := tiny_uri(poster, MOST_CHARS_SHOWN - len("![preview]()")):
                shown["preview"] = dg.MetadataValue.md(f"![preview]({tiny})")
        shown["poster"] = dg.MetadataValue.md(f"![poster frame]({data_uri(poster)})")
    if link := object_link(video.uri):
        shown["play"] = dg.MetadataValue.url(link)
    return shown
