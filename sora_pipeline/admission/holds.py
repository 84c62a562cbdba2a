"""Why a pending clip is not submitted: a budget that its price no longer fits, no price, or submits that are stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.admission.costs import Priced, cost_usd, known_cost_usd
from sora_pipeline.admission.limits import account_of
from sora_pipeline.amounts import counted, usd
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Account, Ledger, Production
from sora_pipeline.ledger.types import PendingKind
from sora_pipeline.provider.catalogue import Catalogue, UnknownModelError
from sora_pipeline.settings import Settings

BUDGET, DAILY_BUDGET, UNREAD, UNKNOWN_MODEL = "budget", "daily_budget", "unread", "unknown_model"
PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps a pending clip from being submitted.

    Attributes:
        kind: In a word: ``paused``, ``budget``, ``daily_budget``, ``unread`` (for the account that is configured),
            ``unknown_model``, or the error kind that opened the breaker.
        reason: For people.
    """

    kind: str
    reason: Reason


class Admission:
    """What stands in the way of a production's pending clips, as one look at the ledger found it.

    Args:
        ledger: The ledger.
        production: The production.
        settings: The settings: provider and daily budget.
        catalogue: Models and prices.
    """

    def __init__(
        self, ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
    ) -> None:
        self._production, self._catalogue = production, catalogue
        self._stopped = _stopped(ledger, production, settings)
        self._models = ledger.breakers.of_models(settings.account_name)
        self._budget, self._daily = production.budget_usd, settings.budget_daily_usd
        self._committed = self._today = Decimal(0)
        if self._budget is not None:
            self._committed = ledger.money.of_production(production.production_id).committed_usd
        if self._daily is not None:
            self._today = ledger.money.of_today(settings.account_name).committed_usd

    def of(self, clip: Priced) -> Hold | None:
        """What holds a pending clip; None: it only waits for a free slot."""
        if self._stopped is not None:
            return self._stopped
        if (breaker := self._models.get(clip.model)) is not None:
            return Hold(breaker.kind, why_stopped(breaker))
        return self.of_price(clip)

    def of_price(self, clip: Priced) -> Hold | None:
        """What its price has against it, or that there is none; None: it can be paid."""
        try:
            cost = cost_usd(clip, self._catalogue)
        except UnknownModelError as unknown:
            return Hold(UNKNOWN_MODEL, Reason(str(unknown), unknown.code))
        if self._budget is not None and self._committed + cost > self._budget:
            sentence = f"{self._usd(cost)} more does not fit the production's budget: {self._of_budget(self._budget)}"
            facts = {"production": self._production.production_id, "usd": "USD"}
            return Hold(BUDGET, Reason(sentence, BUDGET, facts))
        if self._daily is not None and self._today + cost > self._daily:
            sentence = f"{self._usd(cost)} more does not fit the day's budget: {self._of_daily(self._daily)}"
            return Hold(DAILY_BUDGET, Reason(sentence, DAILY_BUDGET))
        return None

    def of_all(self, kinds: Sequence[PendingKind]) -> Hold | None:
        """What holds all of these clips, or most of them; None: there are none, or some can go on. Of a budget, what it lacks for all."""
        holds = [self.of(kind) for kind in kinds]
        hold = None if None in holds else next(iter(holds), None)
        if hold is None or hold.kind not in (BUDGET, DAILY_BUDGET):
            return hold
        held = [kind for kind, each in zip(kinds, holds, strict=True) if each and each.kind == hold.kind]
        cost = sum((kind.clips * cost_usd(kind, self._catalogue) for kind in held), Decimal(0))
        clips = counted(sum(kind.clips for kind in held), "clip")
        if hold.kind == BUDGET and self._budget is not None:
            total = self._committed + cost
            lacks = self._usd(total - self._budget)
            sentence = f"{lacks} more than the production's budget is needed for {clips}: {self._of_budget(self._budget)}"
            enough = total.quantize(Decimal("0.01"), ROUND_CEILING)  # prices have fractions of a cent
            facts = {"production": self._production.production_id, "usd": str(enough)}
            return Hold(BUDGET, Reason(sentence, BUDGET, facts))
        assert self._daily is not None
        lacks = self._usd(self._today + cost - self._daily)
        sentence = f"{lacks} more than the day's budget is needed for {clips}: {self._of_daily(self._daily)}"
        return Hold(DAILY_BUDGET, Reason(sentence, DAILY_BUDGET))

    def _of_budget(self, budget: Decimal) -> str:
        return f"{self._committed:.2f} of {self._usd(budget)} is spent or reserved"

    def _of_daily(self, daily: Decimal) -> str:
        return f"{self._today:.2f} of {self._usd(daily)} is spent or reserved today"

    def _usd(self, amount: Decimal) -> str:
        return usd(amount, simulated=self._production.simulated)


def why_unread(production: Production, account: Account) -> Reason | None:
    """Why no clip of a production is submitted for an account until it is read for it; None: it was."""
    if (production.account, production.simulated) == (account.name, account.simulated):
        return None
    name = production.production_id
    facts = {"manifest": production.manifest_uri, "production": name, "account": account.name}
    if production.account is None:
        sentence = f"{name} was taken over from its outputs, and its manifest has not been read since"
        return Reason(sentence, "never_read", facts)
    sentence = (
        f"{name} was last read for the account {production.account}, and the account is now {account.name}"
    )
    return Reason(sentence, "read_for_another", facts)


def why_paused(ledger: Ledger, production: Production, account: Account) -> Reason | None:
    """Why a person lets nothing be submitted for a production; None: nobody paused it, nor the account."""
    if production.paused_at is not None:
        sentence = f"{production.production_id} is paused since {production.paused_at:%d %b %H:%M} UTC"
        return Reason(sentence, "paused_production", {"production": production.production_id})
    if (since := ledger.paused.accounts().get(account.name)) is not None:
        return why_paused_account(account.name, since)
    return None


def why_paused_account(name: str, since: datetime) -> Reason:
    """That a person lets nothing be submitted to an account."""
    sentence = f"the account {name} is paused since {since:%d %b %H:%M} UTC"
    return Reason(sentence, "paused_account", {"account": name})


def _stopped(ledger: Ledger, production: Production, settings: Settings) -> Hold | None:
    """What holds every clip of a production, whatever it costs."""
    account = account_of(settings)
    if (unread := why_unread(production, account)) is not None:
        return Hold(UNREAD, unread)
    if (paused := why_paused(ledger, production, account)) is not None:
        return Hold(PAUSED, paused)
    breaker = ledger.breakers.get(account.name)
    return None if breaker is None else Hold(breaker.kind, why_stopped(breaker))


def hold_of_all(
    ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
) -> Hold | None:
    """What holds every pending clip of a production, or most of them; None: some clip can go on, or none is pending."""
    admission = Admission(ledger, production, settings, catalogue)
    kinds = ledger.clips.pending_kinds(production.production_id, settings.max_attempts)
    return admission.of_all(kinds)


def still_to_pay_usd(
    ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
) -> Decimal:
    """What the production's pending clips will cost; those of a model that the catalogue has no more count for nothing."""
    kinds = ledger.clips.pending_kinds(production.production_id, settings.max_attempts)
    return sum((kind.clips * known_cost_usd([kind], catalogue) for kind in kinds), Decimal(0))
