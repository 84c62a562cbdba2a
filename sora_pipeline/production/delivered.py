"""A production as code after it meets it: its output manifest as a data frame, and where each clip's video lies."""

import io
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger import Production as LedgerProduction
from sora_pipeline.production.finish import read_finish
from sora_pipeline.production.publishing import PARQUET
from sora_pipeline.store import OutputStore
from sora_pipeline.video import StoredVideo

if TYPE_CHECKING:
    import pandas as pd


class NotDeliveredError(SoraPipelineError):
    """Raised where something is asked for that is not there: a production, a published manifest, a clip's video."""


@dataclass(frozen=True, slots=True)
class DeliveredProduction:
    """One production of a pipeline.

    Attributes:
        name: Its name.
        output: Where its videos and manifests are.
    """

    name: str
    output: str

    def to_pandas(self) -> "pd.DataFrame":
        """The output manifest as it was last published, one row a clip; times are UTC.

        Raises:
            NotDeliveredError: it was not published so far.
            StoreError: the output cannot be read.
        """
        import pandas as pd

        try:
            content = OutputStore(self.output).read_bytes(PARQUET)
        except FileNotFoundError:
            raise NotDeliveredError(
                f"{self.name} was not published so far: there is no {self.output}/{PARQUET}"
            ) from None
        return pd.read_parquet(io.BytesIO(content))

    def finished_at(self) -> datetime | None:
        """When it finished; None: it goes on, or has something to do again.

        Raises:
            StoreError: the output cannot be read.
        """
        finish = read_finish(OutputStore(self.output))
        return None if finish is None else finish.finished_at


def delivered_production(ledger: Ledger, pipeline: str, name: str) -> DeliveredProduction:
    """A pipeline's production by its name.

    Raises:
        NotDeliveredError: it has none of this name; the text lists those that it has.
    """
    production: LedgerProduction | None = ledger.productions.find(name)
    if production is None or production.pipeline != pipeline:
        known = ", ".join(other.production_id for other in ledger.productions.all(pipeline))
        raise NotDeliveredError(f"there is no production {name}; there are {known or 'none'}")
    return DeliveredProduction(production.production_id, production.output_uri)


def delivered_video(ledger: Ledger, partition_key: str) -> StoredVideo:
    """Where the video of a clip lies, and what it is.

    Args:
        ledger: The ledger.
        partition_key: The clip's, as ``context.partition_key`` has it in an asset downstream of ``videos``.

    Raises:
        NotDeliveredError: there is no such clip, or it has no video.
    """
    try:
        split_clip_key(partition_key)
    except ValueError as error:
        raise NotDeliveredError(str(error)) from None
    standing = ledger.clips.standings([partition_key]).get(partition_key)
    video = standing.delivered.result.video if standing and standing.delivered else None
    if video is None:
        raise NotDeliveredError(f"the clip {partition_key} is not delivered")
    return video
