"""What commands say about money: before a production, while it works, and after it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted, usd
from sora_pipeline.cli.output import note
from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Collection

    from sora_pipeline.clip import Clip
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.ledger.types import PendingClip
    from sora_pipeline.manifest.snapshot import Snapshot
    from sora_pipeline.production.estimates import Estimate
    from sora_pipeline.production.naming import Decided
    from sora_pipeline.production.progress import Progress
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a manifest will cost, and what budgets leave for it.

    Attributes:
        production: The production's name.
        costs: The estimate.
        budget_usd: What the production may cost; None: no limit.
        daily_usd: What a day may cost; None: no limit.
        committed_usd: What the production has spent or reserved.
        reserved_usd: What of that is reserved, for clips that are about to be sent: they are not to pay any more, and not billed.
        today_usd: What today has spent or reserved at the account, all productions together.
        simulated: Whether the account is the sandbox's, whose dollars are pretended.
        others: How many further clips of the production are pending, where the file only mends rows of it: they are submitted as well.
        others_usd: What these cost together.
        paused: Whether the production is.
    """

    production: str
    costs: "Estimate"
    budget_usd: Decimal | None
    daily_usd: Decimal | None
    committed_usd: Decimal
    reserved_usd: Decimal
    today_usd: Decimal
    simulated: bool
    others: int
    others_usd: Decimal
    paused: bool

    @classmethod
    def of(
        cls,
        ledger: "Ledger",
        settings: "Settings",
        catalogue: "Catalogue",
        costs: "Estimate",
        snapshot: "Snapshot",
        decided: "Decided",
    ) -> "Outlook":
        """Look at the ledger."""
        from sora_pipeline.admission.costs import known_cost_usd

        production, plan = decided.known, decided.plan
        others: list[PendingClip] = []
        if decided.amends:
            ids = {clip.clip_id for clip in snapshot.clips} | {bad.clip_id for bad in snapshot.invalid}
            pending = ledger.clips.pending_clips(settings.max_attempts, plan.production_id)
            others = [each for each in pending if split_clip_key(each.key)[1] not in ids]
        kept = production is not None and production.budget_given and not plan.budget_given
        budget_usd = (
            production.budget_usd if production and (kept or plan.budget_usd is None) else plan.budget_usd
        )
        # In the dollars that are to be paid: after a trial in the sandbox the production still stands in the sandbox's.
        spending = (
            ledger.money.of_production(production.production_id, simulated=plan.account.simulated)
            if production
            else None
        )
        return cls(
            production=plan.production_id,
            costs=costs,
            budget_usd=budget_usd,
            daily_usd=settings.budget_daily_usd,
            committed_usd=spending.committed_usd if spending else Decimal(0),
            reserved_usd=spending.committed_usd - spending.spent_usd if spending else Decimal(0),
            today_usd=ledger.money.of_today(settings.account_name).committed_usd,
            simulated=plan.account.simulated,
            others=len(others),
            others_usd=known_cost_usd(others, catalogue),
            paused=production is not None and production.paused_at is not None,
        )

    @property
    def fitting(self) -> int:
        """How many of the clips to pay the budgets allow, should the production's other pending clips be submitted first."""
        return self.costs.fitting(
            None if self.budget_usd is None else self.budget_usd - self.committed_usd - self.others_usd,
            None if self.daily_usd is None else self.daily_usd - self.today_usd - self.others_usd,
        )

    @property
    def sentences(self) -> list[str]:
        """For people."""
        costs = self.costs
        lines = [
            f"price: {self._usd(costs.total_usd)}; {self._still_to_pay}",
            *self._beside_these(),
            *self._left_alone(),
        ]
        if self.budget_usd is not None:
            lines.append(
                f"budget: {self.committed_usd:.2f} of {self._usd(self.budget_usd)} spent or reserved"
            )
        if self.daily_usd is not None:
            lines.append(
                f"today (UTC): {self.today_usd:.2f} of {self._usd(self.daily_usd)} spent or reserved"
            )
        if self.fitting < costs.clips_to_pay:
            lines.append(
                f"{self.fitting} of {counted(costs.clips_to_pay, 'clip')} to pay {'fits' if 1 in (self.fitting, costs.clips_to_pay) else 'fit'} the budget; what does not stays pending until "
                "it is raised (--budget, SORA_BUDGET_USD, SORA_BUDGET_DAILY_USD)"
            )
        return lines

    @property
    def _still_to_pay(self) -> str:
        reserved = (
            f", and {self._usd(self.reserved_usd)} is reserved, and billed once it is sent"
            if self.reserved_usd
            else ""
        )
        if not self.costs.clips_to_pay:
            return f"nothing {'further ' if reserved else ''}of that is still to pay{reserved}"
        clips = counted(self.costs.clips_to_pay, "clip")
        return f"{self._usd(self.costs.to_pay_usd)} of that is still to pay ({clips}){reserved}"

    def _beside_these(self) -> list[str]:
        """Clips that a file of mended rows does not name, and that a run of it submits nevertheless."""
        if not self.others:
            return []
        are = counted(self.others, "other clip", "other clips")
        when = " once the production is resumed" if self.paused else ""
        return [
            f"beside these, {are} of {self.production} {'is' if self.others == 1 else 'are'} pending, and submitted as well{when}: "
            f"{self._usd(self.others_usd)}"
        ]

    def _left_alone(self) -> list[str]:
        """Clips that no run makes unless somebody asks for it."""
        costs, lines = self.costs, []
        if count := len(costs.prices_of_failed):
            sentence = (
                f"{counted(count, 'clip')} failed for good, and {'is' if count == 1 else 'are'} left alone"
            )
            facts = {"production": self.production, "price": self._usd(costs.failed_usd)}
            lines.append(explained(Reason(sentence, "failed_clips", facts)))
        if count := len(costs.prices_of_cancelled):
            sentence = f"{counted(count, 'clip was', 'clips were')} cancelled, and left so"
            facts = {"production": self.production, "price": self._usd(costs.cancelled_usd)}
            lines.append(explained(Reason(sentence, "cancelled_clips_at_price", facts)))
        return lines

    def _usd(self, amount: Decimal) -> str:
        return usd(amount, simulated=self.simulated)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "estimate_usd": float(self.costs.total_usd),
            "still_to_pay_usd": float(self.costs.to_pay_usd),
            "clips_to_pay": self.costs.clips_to_pay,
            "other_clips_to_pay": self.others,
            "other_clips_usd": float(self.others_usd),
            "reserved_usd": float(self.reserved_usd),
            "clips_failed": len(self.costs.prices_of_failed),
            "failed_usd": float(self.costs.failed_usd),
            "clips_cancelled": len(self.costs.prices_of_cancelled),
            "cancelled_usd": float(self.costs.cancelled_usd),
            "clips_within_budget": self.fitting,
            "budget_usd": dollars(self.budget_usd),
            "budget_daily_usd": dollars(self.daily_usd),
            "committed_usd": float(self.committed_usd),
            "committed_today_usd": float(self.today_usd),
            "simulated": self.simulated,
        }


@dataclass(frozen=True, slots=True)
class Price:
    """What some clips cost together.

    Attributes:
        usd: The amount.
        simulated: Whether it is in dollars of the sandbox, which are pretended.
    """

    usd: Decimal
    simulated: bool

    @classmethod
    def of(cls, clips: "Collection[Clip]", settings: "Settings") -> "Price":
        """By the catalogue."""
        from sora_pipeline.admission.costs import known_cost_usd
        from sora_pipeline.admission.limits import account_of
        from sora_pipeline.provider.catalogue import load_catalogue

        simulated = all(clip.simulated for clip in clips) if clips else account_of(settings).simulated
        return cls(known_cost_usd(clips, load_catalogue(settings.catalogue)), simulated)

    def __str__(self) -> str:
        return usd(self.usd, simulated=self.simulated)


def shortfall(look: "Progress") -> str | None:
    """That a production's budget has no room for all that is pending, and which one has; None: it has room."""
    production, committed = look.production, look.spending.committed_usd
    if production.budget_usd is None or committed + look.to_pay_usd <= production.budget_usd:
        return None
    left = usd(max(production.budget_usd - committed, Decimal(0)), simulated=production.simulated)
    return (
        f"{left} is left of the budget of {production.production_id}, and its pending clips cost {look.to_pay_usd:.2f}: "
        f"`sora-pipeline budget {production.production_id} {committed + look.to_pay_usd:.2f}` has room for all"
    )


def tell_of_pretended(*, simulated: bool) -> None:
    """What sandbox dollars are, for whoever reads amounts of them."""
    if simulated:
        note("sandbox USD are pretended: the built-in emulator bills nobody")


def dollars(amount: Decimal | None) -> float | None:
    """For JSON."""
    return None if amount is None else float(amount)
