"""How far a production is, from the ledger alone: what people watch, and what decides when a command is done."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from sora_pipeline.admission.holds import hold_of_all, still_to_pay_usd
from sora_pipeline.amounts import counted
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import AttemptState, Ledger, Production
from sora_pipeline.ledger.spending import Spending
from sora_pipeline.ledger.types import Account, status_of_live
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings
from sora_pipeline.status import ClipStatus

_TRIED_AGAIN = {AttemptState.RESERVED: math.inf, AttemptState.SUCCEEDED: 100}
"""States in which something may be tried again, and how many clips in each are looked through: of many that are fetched, most are."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a production is.

    Attributes:
        production: The production.
        clips: How many clips its manifest wants.
        counts: Clips by how they stand.
        at_work: Clips that the provider or a run is busy with, by the state of their attempt.
        spending: US dollars billed, and reserved, so far.
        to_pay_usd: What its pending clips will cost.
        trouble: What holds up a submit or a video at the moment although it is tried again by itself; None while all is well.
        published: Whether the output manifest shows all of this.
        stopped: Why nothing more is submitted although clips are pending; None while all is well.
        elsewhere: Open attempts at accounts that are not configured now, which nobody here can bring to an end.
    """

    production: Production
    clips: int
    counts: Counter[ClipStatus]
    at_work: Counter[AttemptState]
    spending: Spending
    to_pay_usd: Decimal
    trouble: str | None
    published: bool
    stopped: Reason | None
    elsewhere: Mapping[Account, int] = field(default_factory=dict)

    @property
    def working(self) -> int:
        """Clips that the provider or a run is busy with."""
        return self.at_work.total()

    @property
    def settled(self) -> bool:
        """Whether nothing changes any more unless somebody does something."""
        waiting = self.counts[ClipStatus.PENDING] - self.at_work[AttemptState.RESERVED]
        return not self.working and (not waiting or self.stopped is not None)

    @property
    def finished(self) -> bool:
        """Whether every clip has come to an end, be it that a person has to decide what becomes of it."""
        return (
            not self.working and not self.counts[ClipStatus.PENDING] and not self.counts[ClipStatus.IN_FLIGHT]
        )


_AT_WORK = (AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.IN_FLIGHT, AttemptState.SUCCEEDED)


def progress_of(ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue) -> Progress:
    """Look at the ledger once."""
    identity = production.production_id
    tally = ledger.clips.counts(identity, settings.max_attempts)
    counts = Counter(
        {
            ClipStatus.DELIVERED: tally.delivered,
            ClipStatus.PENDING: tally.pending,
            ClipStatus.FAILED: tally.failed,
        }
    )
    at_work: Counter[AttemptState] = Counter()
    for (state, given_up), clips in tally.live.items():
        status = status_of_live(state, reported=given_up)
        counts[status] += clips
        if state in _AT_WORK and status is not ClipStatus.FAILED:
            at_work[state] += clips
    hold, to_pay_usd = None, Decimal(0)
    if tally.pending:
        hold = hold_of_all(ledger, production, settings, catalogue)
        to_pay_usd = still_to_pay_usd(ledger, production, settings, catalogue)
    tried_again = (state for state, most in _TRIED_AGAIN.items() if 0 < at_work[state] <= most)
    troubled = next(filter(None, (ledger.attempts.trouble(identity, state) for state in tried_again)), None)
    return Progress(
        production=production,
        clips=tally.clips,
        counts=+counts,
        at_work=+at_work,
        spending=ledger.money.of_production(identity),
        to_pay_usd=to_pay_usd,
        trouble=None if troubled is None else troubled.why,
        published=production.published_seq >= production.change_seq,
        stopped=None if hold is None else hold.reason,
        elsewhere=open_elsewhere(ledger, settings, identity),
    )


def open_elsewhere(ledger: Ledger, settings: Settings, production_id: str) -> dict[Account, int]:
    """A production's open attempts at accounts other than the one that is configured now."""
    accounts = ledger.attempts.open_accounts(production_id=production_id)
    return {account: count for account, count in accounts.items() if account.name != settings.account_name}


def why_left_open(account: Account, count: int) -> Reason:
    """Why nobody here brings open attempts to an end."""
    return Reason(
        f"{counted(count, 'attempt is', 'attempts are')} open at the account {account.name} ({account.provider}), which is not configured now: nobody "
        "polls there, and what is open ends as timed_out by its deadline",
        "account_not_configured",
        {"provider": account.provider, "account": account.name},
    )
