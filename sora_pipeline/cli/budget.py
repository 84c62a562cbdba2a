"""``sora-pipeline budget``: what a production may cost from now on."""

from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

import typer

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted
from sora_pipeline.amounts import usd as usd_in_words
from sora_pipeline.cli.money import shortfall, tell_of_pretended
from sora_pipeline.cli.opening import open_ledger
from sora_pipeline.cli.output import AS_JSON, BUILT_IN, console, print_json, warning
from sora_pipeline.cli.productions import completed, goes_on, selected
from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.settings import Settings


def budget(
    name: str = typer.Argument(metavar="NAME", help="The production.", autocompletion=completed),
    usd: str = typer.Argument(metavar="USD", help="US dollars that it may cost in all; none: no limit."),
    as_json: bool = AS_JSON,
) -> None:
    """Say what a production may cost, with all that it has cost so far. A running daemon goes by it at once."""
    ledger, settings, _ = open_ledger()
    (production,) = selected(ledger, [name], said_as="NAME")
    limit = budget_given(usd, hint="USD")
    ledger.productions.set_budget(production.production_id, limit)
    committed = ledger.money.of_production(name).committed_usd
    if as_json:
        limit_usd = None if limit is None else float(limit)
        facts = {"production": name, "simulated": production.simulated}
        print_json({**facts, "budget_usd": limit_usd, "committed_usd": float(committed)})
        return
    in_words = partial(usd_in_words, simulated=production.simulated)
    says = "has no spending limit of its own" if limit is None else f"may cost {in_words(limit)}"
    console.print(f"{name} {says} now; {in_words(committed)} is spent or reserved")
    if limit is not None and committed > limit:
        console.print(
            "nothing further is submitted for it until that is raised; what was submitted stays spent"
        )
    else:
        _say_what_comes_next(ledger, settings, ledger.productions.get(name))
    tell_of_pretended(simulated=production.simulated)


def _say_what_comes_next(ledger: "Ledger", settings: "Settings", production: "Production") -> None:
    """What becomes of the clips that wait: a person who raises a budget wants them made."""
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.provider.catalogue import load_catalogue

    look = progress_of(ledger, production, settings, load_catalogue(settings.catalogue))
    pending = look.counts[ClipStatus.PENDING]
    if not pending or production.pipeline != BUILT_IN:
        return
    price = usd_in_words(look.to_pay_usd, simulated=production.simulated)
    console.print(
        f"{counted(pending, 'clip is', 'clips are')} pending, {price}; {goes_on(ledger, production)}"
    )
    if look.stopped is not None:
        warning(explained(look.stopped))
    elif missing := shortfall(look):
        warning(missing)


def budget_given(text: str, *, hint: str) -> Decimal | None:
    """What a person typed for a budget; None: no limit.

    Raises:
        typer.BadParameter: it is no amount.
    """
    from sora_pipeline.admission.budgets import limit_of

    try:
        return limit_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=hint) from None
