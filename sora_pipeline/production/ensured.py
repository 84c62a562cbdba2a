"""How each clip ended up that a run was asked to ensure a prediction for."""

from dataclasses import dataclass, field

from sora_pipeline.ledger import Attempt, Ledger
from sora_pipeline.production.stopping import stop_sentence
from sora_pipeline.provider.errors import ProviderError

AMBIGUOUS_ADVICE = (
    "It may have been billed, so it is not sent again by itself. Look at the provider's dashboard, then "
    "`sora-pipeline retry --clip {clip_id}` to pay for another, or set SORA_AMBIGUOUS_SUBMIT=resubmit"
)


@dataclass(slots=True)
class Ensured:
    """Every clip of the run is in one of these, in the end.

    Attributes:
        ready: Clips that have a prediction or a video, with the attempt that has it.
        failed: Clips that have none for good, with the sentence for people.
        transient: Clips whose request was refused for now; their attempts stay reserved for a retry.
        waiting: Clips that may go on later (no budget, breaker open), with the reason.
        fresh: Ids of attempts that this run submitted.
        stopped: Why nothing is submitted at all at the moment, and what to do.
    """

    ready: dict[str, Attempt] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    transient: dict[str, tuple[Attempt, ProviderError]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)
    stopped: str | None = None

    def __contains__(self, clip_id: str) -> bool:
        """Whether it is settled for this run what becomes of a clip."""
        return any(clip_id in ended for ended in (self.ready, self.failed, self.transient, self.waiting))

    def hold_back(self, clip_id: str, ledger: Ledger, provider: str) -> None:
        """Leave a clip to a later run, since submits are stopped, with the reason."""
        breaker = ledger.breakers.get(provider)
        if breaker is None:
            self.waiting[clip_id] = "submits were stopped, and go on; the dispatch sensor plans it again"
            return
        self.stopped = self.waiting[clip_id] = stop_sentence(breaker)
