"""``sora-pipeline retry --picks FILE``: clips that were marked bad in the gallery are made anew, once their price is agreed to."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import typer

from sora_pipeline.amounts import counted
from sora_pipeline.cli.confirm import require_consent
from sora_pipeline.cli.money import Price
from sora_pipeline.cli.output import note, problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.settings import Settings

PICKS: str | None = typer.Option(
    None,
    "--picks",
    metavar="FILE",
    help="The gallery's picks.csv: clips that are marked bad in it are made anew, which costs again.",
)


@dataclass(frozen=True, slots=True)
class PickedAgain:
    """What was done about a file of picks.

    Attributes:
        keys: Clips that are made anew.
        usd: What that costs.
        price: The same, in words.
        without_video: Keys of clips that are marked bad and have no video: they are tried again as any other clip.
        all_known: Whether all clips of the file are known.
    """

    keys: list[str] = field(default_factory=list)
    usd: float = 0.0
    price: str = ""
    without_video: list[str] = field(default_factory=list)
    all_known: bool = True


def retry_picked(
    ledger: "Ledger",
    settings: "Settings",
    productions: "Sequence[Production]",
    file: str,
    *,
    yes: bool,
    dry_run: bool,
) -> PickedAgain:
    """Have clips that are marked bad made anew, or only find out which those are.

    Raises:
        PicksError: the file cannot be used.
        typer.Exit: nobody agreed to the price.
    """
    from sora_pipeline.manifest.picks import read_picks
    from sora_pipeline.production.picked import bad_clips, make_anew

    picked = bad_clips(ledger, [chosen.production_id for chosen in productions], read_picks(file))
    for pick in picked.unknown:
        problem(
            f"{file}, row {pick.row_number}: {pick.production}:{pick.clip_id} is no clip of "
            f"{', '.join(chosen.production_id for chosen in productions) or 'a production of this ledger'}, or no longer; "
            "`sora-pipeline status` lists them"
        )
    for key in picked.since:
        note(f"{key} was made anew since it was marked bad, or is being made; look at the new video first")
    price, keys = Price.of(picked.clips, settings), list(picked.anew)
    if keys and not dry_run:
        bad = counted(len(keys), "delivered clip is", "delivered clips are")
        them = "it" if len(keys) == 1 else "them"
        require_consent(f"{bad} marked bad: making {them} anew costs {price}", yes=yes, unasked=False)
        keys = make_anew(ledger, settings, picked)
    return PickedAgain(
        keys, float(price.usd) if keys else 0.0, str(price), picked.without_video, not picked.unknown
    )
