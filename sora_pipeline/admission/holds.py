"""Why a pending clip is not submitted: a budget that its price no longer fits, no price, or submits that are stopped."""

from dataclasses import dataclass
from decimal import Decimal

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.admission.costs import Priced, cost_usd, known_cost_usd
from sora_pipeline.admission.limits import account_of
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Account, Ledger, Production
from sora_pipeline.provider.catalogue import Catalogue, UnknownModelError
from sora_pipeline.settings import Settings

BUDGET, DAILY_BUDGET, UNREAD, UNKNOWN_MODEL = "budget", "daily_budget", "unread", "unknown_model"


@dataclass(frozen=True, slots=True)
class Hold:
    """What keeps a pending clip from being submitted.

    Attributes:
        kind: In a word: ``budget``, ``daily_budget``, ``unread`` (for the account that is configured), ``unknown_model``, or the
            error kind that opened the breaker.
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
        self._catalogue = catalogue
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
            sentence = (
                f"{cost:.2f} USD more do not fit the production's budget: {self._committed:.2f} of {self._budget:.2f} USD "
                "are spent or reserved"
            )
            return Hold(BUDGET, Reason(sentence, BUDGET))
        if self._daily is not None and self._today + cost > self._daily:
            sentence = (
                f"{cost:.2f} USD more do not fit the day's budget: {self._today:.2f} of {self._daily:.2f} USD are spent or "
                "reserved today"
            )
            return Hold(DAILY_BUDGET, Reason(sentence, DAILY_BUDGET))
        return None


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


def _stopped(ledger: Ledger, production: Production, settings: Settings) -> Hold | None:
    """What holds every clip of a production, whatever it costs."""
    account = account_of(settings)
    if (unread := why_unread(production, account)) is not None:
        return Hold(UNREAD, unread)
    breaker = ledger.breakers.get(account.name)
    return None if breaker is None else Hold(breaker.kind, why_stopped(breaker))


def hold_of_all(
    ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
) -> Hold | None:
    """What holds every pending clip of a production, or most of them; None: some clip can go on, or none is pending."""
    admission = Admission(ledger, production, settings, catalogue)
    kinds = ledger.clips.pending_kinds(production.production_id, settings.max_attempts)
    holds = [admission.of(kind) for kind in kinds]
    return None if None in holds else next(iter(holds), None)


def still_to_pay_usd(
    ledger: Ledger, production: Production, settings: Settings, catalogue: Catalogue
) -> Decimal:
    """What the production's pending clips will cost; those of a model that the catalogue has no more count for nothing."""
    kinds = ledger.clips.pending_kinds(production.production_id, settings.max_attempts)
    return sum((kind.clips * known_cost_usd([kind], catalogue) for kind in kinds), Decimal(0))
