"""A new prompt for one clip: a row that amends its production's manifest, as a mended ``failed.csv`` does.

It stands until the campaign's own row changes.
"""

import time
from dataclasses import replace

from sora_pipeline.clip import Clip
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.output import OutputAbout
from sora_pipeline.manifest.output_csv import FailedCsv
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore
from sora_pipeline.uris import Uri

AMENDMENTS = ".amendments"


class NewPromptError(SoraPipelineError):
    """Raised where a clip cannot be given a prompt: there is none of that id, or it has that prompt."""


def wanted_clip(ledger: Ledger, production: Production, clip_id: str) -> Clip:
    """The clip that a person means.

    Raises:
        NewPromptError: the production wants none of this id.
    """
    wanted = clip_id.strip().removeprefix(f"{production.production_id}:")
    clip = ledger.clips.wanted_among(production.production_id, [wanted]).get(wanted)
    if clip is None:
        raise NewPromptError(
            f"clip: {production.production_id} has no clip {wanted!r}; metadata.parquet in its output lists them"
        )
    return clip


def write_amendment(production: Production, clip: Clip, prompt: str) -> Uri:
    """Put a file that gives a clip another prompt into its production's output, and name it.

    Raises:
        NewPromptError: it has that prompt.
        StoreError: the output cannot be written.
    """
    import pyarrow as pa

    if prompt == clip.prompt:
        raise NewPromptError(f"prompt: {clip.clip_id} has this prompt already", "same_prompt")
    store = OutputStore(production.output_uri)
    about = OutputAbout(
        production.production_id,
        production.manifest_uri,
        production.manifest_sha256 or "",
        dict.fromkeys(clip.carried, pa.string()),
    )
    mended = ClipOutcome(clip_id=clip.clip_id, status=ClipStatus.FAILED, error_message="another prompt")
    name = f"{AMENDMENTS}/{clip.clip_id}-{time.time_ns() // 1_000_000}.csv"
    with store.explaining(), store.staged_file() as staged:
        with FailedCsv(staged, about) as file:
            file.add([(replace(clip, prompt=prompt), mended)])
        store.replace_file(staged, name)
    return Uri(store.uri_of(name))
