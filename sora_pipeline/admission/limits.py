"""From the settings: which account submits, and what holds for each of its reservations."""

from sora_pipeline.ledger import Account, Limits
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.provider.registry import find
from sora_pipeline.settings import Settings


def account_of(settings: Settings) -> Account:
    """The account that these settings name."""
    return Account(settings.account_name, settings.provider, find(settings.provider).simulated)


def limits_of(settings: Settings) -> Limits:
    """What holds for every reservation."""
    return Limits(
        max_in_flight=settings.max_in_flight,
        max_attempts=settings.max_attempts,
        daily_micros=None if settings.budget_daily_usd is None else int(settings.budget_daily_usd * MICROS),
    )
