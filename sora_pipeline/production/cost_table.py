"""Where the money went, as a data frame: what `costs` shows, and what code after a pipeline asks for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sora_pipeline.ledger import Ledger

if TYPE_CHECKING:
    import pandas as pd

SUMS = ("clips", "attempts", "delivered", "spent_usd", "simulated")


def cost_table(
    ledger: Ledger,
    by: Sequence[str],
    production_ids: Sequence[str] | None = None,
    spellings: Mapping[str, Sequence[str]] | None = None,
) -> "pd.DataFrame":
    """What was billed, summed up.

    Args:
        ledger: The ledger.
        by: What to sum by, as in [`Money.report`][sora_pipeline.ledger.spending.Money.report].
        production_ids: Only these productions'; None: everybody's.
        spellings: How manifests write a column of ``by``, where not all do as that.

    Returns:
        One row a line: a column for each name in ``by`` (text; empty where the clips have no such column, and with
        ``(manifest)`` behind a name that is a sum's), ``clips``, ``attempts`` (those that were billed), ``delivered``,
        ``spent_usd`` (US dollars) and ``simulated``, whether these are the sandbox's dollars, which nobody pays.
    """
    import pandas as pd

    lines = ledger.money.report(by, production_ids, spellings)
    return pd.DataFrame(
        [
            (*line.keys, line.clips, line.attempts, line.delivered, float(line.spent_usd), line.simulated)
            for line in lines
        ],
        columns=[*(f"{name} (manifest)" if name in SUMS else name for name in by), *SUMS],
    )
