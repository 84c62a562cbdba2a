"""What people write as a budget."""

from decimal import Decimal, InvalidOperation

from sora_pipeline.settings import MOST_BUDGET_USD

NO_LIMIT = "none"


def budget_of(text: str) -> Decimal:
    """An amount of US dollars.

    Raises:
        ValueError: the text is none; says so.
    """
    try:
        budget = Decimal(text)
    except InvalidOperation:
        budget = Decimal(-1)
    if not budget.is_finite() or not 0 <= budget <= MOST_BUDGET_USD:
        raise ValueError(f"{text!r} is not an amount of US dollars such as 25 or 12.50")
    return budget


def limit_of(text: str) -> Decimal | None:
    """A budget as people write it, or None where they say that there is no limit.

    Raises:
        ValueError: it is neither.
    """
    return None if text.strip().lower() == NO_LIMIT else budget_of(text)
