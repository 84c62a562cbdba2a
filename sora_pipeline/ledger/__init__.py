"""The ledger: a small SQL record of what was asked for, what was attempted and what may be paid for.

It is the only state outside Dagster. Knows nothing of Dagster, HTTP or media.
"""

from sora_pipeline.ledger.ledger import Ledger
from sora_pipeline.ledger.productions import OvertakenError, Plan, Reading
from sora_pipeline.ledger.types import (
    Account,
    Attempt,
    AttemptState,
    ClipStanding,
    Limits,
    Production,
)

__all__ = [
    "Account",
    "Attempt",
    "AttemptState",
    "ClipStanding",
    "Ledger",
    "Limits",
    "OvertakenError",
    "Plan",
    "Production",
    "Reading",
]
