"""``sora-pipeline pause`` and ``resume``: submits stop, and go on; what was submitted is fetched all the same."""

from typing import TYPE_CHECKING, Any

import typer

from sora_pipeline.amounts import counted, listed
from sora_pipeline.cli.opening import open_ledger, require_same_settings
from sora_pipeline.cli.output import AS_JSON, BUILT_IN, console, print_json
from sora_pipeline.cli.productions import NAMED, PRODUCTION, goes_on, selected
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.settings import Settings

_MOST_NAMED = 10
ACCOUNT: Any = typer.Option(
    [], "--account", metavar="NAME", help="A provider account (SORA_ACCOUNT); may be given more than once."
)


class UnknownAccountError(SoraPipelineError):
    """Raised where a command names an account that nothing was ever made with."""


def pause(
    production: list[str] = NAMED,
    account: list[str] = ACCOUNT,
    as_json: bool = AS_JSON,
) -> None:
    """Submit nothing further for a production, or to an account, until `resume`. What renders is still fetched."""
    if not production and not account:
        raise typer.BadParameter("say what is to be paused", param_hint="--production / --account")
    ledger, settings, _ = open_ledger()
    productions = [chosen.production_id for chosen in selected(ledger, production)] if production else []
    accounts = _known_accounts(ledger, settings, account)
    for name in productions:
        ledger.paused.pause_production(name)
    for name in accounts:
        ledger.paused.pause_account(name)
    if as_json:
        print_json({"paused": {"productions": productions, "accounts": accounts}})
        return
    for name in productions:
        console.print(f"{name} is paused; `sora-pipeline resume --production {name}` lets it go on")
    for name in accounts:
        console.print(
            f"the account {name} is paused; `sora-pipeline resume --account {name}` lets submits go on"
        )
    console.print("what was submitted already is fetched all the same")


def resume(production: list[str] = PRODUCTION, account: list[str] = ACCOUNT, as_json: bool = AS_JSON) -> None:
    """Let submits go on: after `pause`, or after a bad key, an empty balance or a retired model stopped them."""
    ledger, settings, home = open_ledger()
    chosen_accounts = _known_accounts(ledger, settings, account)
    productions = selected(ledger, production) if production or not account else []
    everything = not production and not account
    if everything or any(chosen.pipeline == BUILT_IN for chosen in productions):
        require_same_settings(ledger, settings, home)
    names = [chosen.production_id for chosen in productions]
    resumed = [name for name in names if ledger.paused.resume_production(name)]
    accounts = sorted({*chosen_accounts, *_accounts_of(productions, settings, everything=everything)})
    if everything:
        accounts = sorted({*accounts, *ledger.paused.accounts()})
    lifted = (
        [name for name in accounts if ledger.paused.resume_account(name)] if not production or account else []
    )
    closed = [name for name in accounts if ledger.breakers.close(name)]
    opened = sorted({*lifted, *closed})
    if as_json:
        were_stopped = bool(resumed or opened)
        print_json(
            {"submits_were_stopped": were_stopped, "resumed": {"productions": resumed, "accounts": opened}}
        )
        return
    going = [*resumed, *(f"the account {name}" for name in opened)]
    if not going:
        console.print("submits were not stopped; nothing was changed")
        return
    console.print(f"submits go on: {', '.join(going)}")
    of_these = [
        each for each in ledger.productions.all() if each.production_id in resumed or each.account in opened
    ]
    waiting = [
        each for each in of_these if ledger.clips.counts(each.production_id, settings.max_attempts).pending
    ]
    for each in waiting[:_MOST_NAMED]:
        console.print(f"{each.production_id}: {goes_on(ledger, each)}")
    if left := waiting[_MOST_NAMED:]:
        console.print(f"and {counted(len(left), 'production')} more; `sora-pipeline status` lists them")


def _accounts_of(productions: "Sequence[Production]", settings: "Settings", *, everything: bool) -> set[str]:
    accounts = {chosen.account for chosen in productions if chosen.account}
    return accounts | ({settings.account_name} if everything else set())


def _known_accounts(ledger: "Ledger", settings: "Settings", names: list[str]) -> list[str]:
    known = {production.account for production in ledger.productions.all() if production.account}
    known |= {settings.account_name, *ledger.paused.accounts()}
    for name in names:
        if name not in known:
            raise UnknownAccountError(
                f"--account {name}: nothing was made with an account of this name; {'there is' if len(known) == 1 else 'there are'} {listed(sorted(known))}."
                f"{did_you_mean(name, known)}"
            )
    return list(dict.fromkeys(names))
