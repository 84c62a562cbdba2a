"""Productions that go on beside what a command is about: a daemon serves all that its home was asked for, and they cost as well."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sora_pipeline.amounts import counted, listed, usd
from sora_pipeline.cli.output import BUILT_IN
from sora_pipeline.ledger.types import AttemptState
from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    from sora_pipeline.ledger import Ledger
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
        usd: What they cost together, as far as the production's budget allows.
        limited: Whether it does not allow all.
        unread: Whether its manifest was asked for and is still to be read: nobody knows how many more it has.
    """

    production: str
    clips: int
    usd: Decimal
    unread: bool = False
    limited: bool = False

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "production": self.production,
            "clips": self.clips,
            "usd": float(self.usd),
            "unread": self.unread,
        }

    @property
    def words(self) -> str:
        """For people."""
        clips = (
            f"{counted(self.clips, 'clip')}, {self.usd:.2f}{' at most by its budget' if self.limited else ''}"
        )
        if not self.unread:
            return f"{self.production} ({clips})"
        still = "its manifest is still to be read"
        return f"{self.production} ({clips}, and {still})" if self.clips else f"{self.production} ({still})"


def going_on(
    ledger: "Ledger", settings: "Settings", catalogue: "Catalogue", apart_from: str = ""
) -> list[Beside]:
    """The productions of this account whose pending clips nothing holds, or whose manifests are still to be read.

    Args:
        ledger: The ledger.
        settings: The settings, for the account.
        catalogue: The prices.
        apart_from: The production that the command is about.
    """
    from sora_pipeline.production.progress import progress_of

    account = settings.account_name
    names = set(ledger.clips.productions_with_pending_clips(BUILT_IN, account))
    reserved = ledger.attempts.live(AttemptState.RESERVED, pipeline=BUILT_IN)
    names |= {each.production_id for each in reserved if each.account.name == account}
    unread = {
        each.production_id
        for each in ledger.productions.requested(BUILT_IN)
        # Whose account it is, is known once it was read.
        if each.account in (None, account) and each.paused_at is None
    }
    found = []
    for name in sorted((names | unread) - {apart_from}):
        clips, price, limited = 0, Decimal(0), False
        if name in names:
            look = progress_of(ledger, ledger.productions.get(name), settings, catalogue)
            if look.stopped is not None and look.stopped.code in _PAUSED:
                continue
            clips = look.at_work[AttemptState.RESERVED]
            price = look.spending.committed_usd - look.spending.spent_usd
            if look.stopped is None:
                allowed = look.production.budget_usd
                left = look.to_pay_usd if allowed is None else allowed - look.spending.committed_usd
                limited = left < look.to_pay_usd
                clips, price = look.counts[ClipStatus.PENDING], price + min(left, look.to_pay_usd)
        if clips or name in unread:
            found.append(Beside(name, clips, price, name in unread, limited))
    return found


def beside_note(
    beside: list[Beside], *, simulated: bool, who: str = "a run goes on with other productions as well"
) -> list[str]:
    """For people, before anything is submitted.

    Args:
        beside: What goes on.
        simulated: Whether nobody is billed.
        who: What goes on with them.
    """
    if not beside:
        return []
    total = usd(sum((each.usd for each in beside), Decimal(0)), simulated=simulated)
    return [
        f"{who}, which were asked for before: {listed([each.words for each in beside])}, {total} in all. "
        "`sora-pipeline pause --production NAME` keeps one waiting, `cancel --production NAME` stops it"
    ]
