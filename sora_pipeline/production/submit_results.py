"""How each clip ended up that a run was asked to ensure a prediction for."""

from dataclasses import dataclass, field

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Attempt
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.production.context import RunContext

UNWANTED = "its manifest names it no longer or asks for something else by now, or a person cancelled it"
LEFT = "the run that was to submit it ended before its turn came; the dispatch sensor plans it again"


def why_ambiguous(attempt: Attempt, message: str) -> Reason:
    """Why a submit that lost its answer is not sent again."""
    return Reason(
        f"{message}. It may have been billed, so it is not sent again by itself",
        "ambiguous",
        {"production": attempt.production_id, "clip": attempt.clip_id},
    )


@dataclass(slots=True)
class SubmitResults:
    """Every clip of the run is in one of these, in the end, by its key.

    Attributes:
        ready: Clips that have a prediction or a video, with the attempt that has it.
        failed: Clips that have none for good, with the sentence for people.
        waiting: Clips that may go on later (no budget, breaker open), with the reason.
        fresh: Ids of attempts that this run submitted.
        stopped: Why nothing is submitted at all at the moment, and what to do.
    """

    ready: dict[str, Attempt] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)
    stopped: str | None = None

    def has_settled(self, key: str) -> bool:
        """Whether it is settled for this run what becomes of a clip."""
        return any(key in ended for ended in (self.ready, self.failed, self.waiting))

    def waiting_by_reason(self) -> dict[str, list[str]]:
        """Keys of the clips that wait, by why they do."""
        by_reason: dict[str, list[str]] = {}
        for key, reason in self.waiting.items():
            by_reason.setdefault(reason, []).append(key)
        return by_reason

    def hold_back(self, key: str, context: RunContext, breaker: Breaker | None) -> None:
        """Leave a clip to a later run, with the reason: the breaker that stops submits, or only stopped them just now."""
        if breaker is None:
            self.waiting[key] = "submits were stopped, and go on; the dispatch sensor plans it again"
            return
        self.waiting[key] = context.explained(why_stopped(breaker))
        if not breaker.model:
            self.stopped = self.waiting[key]
