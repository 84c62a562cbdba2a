"""Productions that go on beside the one that a command is about: a daemon serves all that its home was asked for, and they cost as well."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sora_pipeline.amounts import counted, usd
from sora_pipeline.cli.output import BUILT_IN, listed
from sora_pipeline.ledger.types import AttemptState
from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.naming import Decided
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.settings import Settings


_PAUSED = ("paused_production", "paused_account")
"""What is reserved is sent whatever stops the production, but for these."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Clips of another production that a run submits as well.

    Attributes:
        production: Its name.
        clips: How many.
        usd: What they cost together.
    """

    production: str
    clips: int
    usd: Decimal

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {"production": self.production, "clips": self.clips, "usd": float(self.usd)}


def going_on_beside(
    ledger: "Ledger", settings: "Settings", catalogue: "Catalogue", decided: "Decided"
) -> list[Beside]:
    """The other productions of this account whose pending clips nothing holds."""
    from sora_pipeline.production.progress import progress_of

    account = decided.plan.account.name
    names = set(ledger.clips.productions_with_pending_clips(BUILT_IN, account))
    reserved = ledger.attempts.live(AttemptState.RESERVED, pipeline=BUILT_IN)
    names |= {each.production_id for each in reserved if each.account.name == account}
    beside = []
    for name in sorted(names - {decided.plan.production_id}):
        look = progress_of(ledger, ledger.productions.get(name), settings, catalogue)
        if look.stopped is not None and look.stopped.code in _PAUSED:
            continue
        clips = look.at_work[AttemptState.RESERVED]
        price = look.spending.committed_usd - look.spending.spent_usd
        if look.stopped is None:
            clips, price = look.counts[ClipStatus.PENDING], price + look.to_pay_usd
        if clips:
            beside.append(Beside(name, clips, price))
    return beside


def beside_note(beside: list[Beside], *, simulated: bool) -> list[str]:
    """For people, before anything is submitted."""
    if not beside:
        return []
    total = usd(sum((each.usd for each in beside), Decimal(0)), simulated=simulated)
    each_of = listed(
        [f"{each.production} ({counted(each.clips, 'clip')}, {each.usd:.2f})" for each in beside]
    )
    return [
        f"a run goes on with other productions as well, which were asked for before: {each_of}, {total} in all. "
        "`sora-pipeline pause --production NAME` keeps one waiting, `cancel --production NAME` stops it"
    ]
