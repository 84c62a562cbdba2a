"""``sora-pipeline status``: how far every production is."""

from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted, usd
from sora_pipeline.cli.money import dollars, tell_of_pretended
from sora_pipeline.cli.output import (
    AS_JSON,
    BUILT_IN,
    OK,
    Summary,
    console,
    note,
    outcome_rows,
    print_json,
    production_facts,
    warning,
)
from sora_pipeline.cli.productions import PRODUCTION, selected
from sora_pipeline.cli.terminal import styled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.ledger.breakers import Breaker
    from sora_pipeline.production.progress import Progress
    from sora_pipeline.settings import Settings


MOST_LISTED = 1_000
"""Clips of a production whose table is shown although nobody asked for it."""


def status(
    production: list[str] = PRODUCTION,
    as_json: bool = AS_JSON,
    clips: bool | None = typer.Option(
        None,
        "--clips/--no-clips",
        help="List the clips of the newest production, or of those named. By default not as a table where it has more than "
        f"{MOST_LISTED:,} and is not named: that means reading all of them.",
    ),
) -> None:
    """Say how far the productions of this Dagster home are. Asks the ledger, and outputs for rows that cannot be used; costs nothing."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.production.surveys import surveying
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings, dagster_home, ledger_file, ledger_url

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    if settings.ledger_url is None and not ledger_file(dagster_home()).exists():
        _say_nothing_so_far(settings, as_json=as_json)  # a question makes no home
        raise typer.Exit(OK)
    home = prepare_home()
    ledger = Ledger(ledger_url(settings, home))
    productions = selected(ledger, production)
    looks = [progress_of(ledger, chosen, settings, catalogue) for chosen in productions]
    read = [look for look in looks if look.production.snapshot_path]
    listed = read if production else read[:1]
    asked_for = clips or production or as_json
    left_out = [look for look in listed if look.clips > MOST_LISTED and not asked_for]
    rows: list[dict[str, Any]] = []
    summaries: dict[str, Summary] = {}
    for look in listed if clips is not False else []:
        name = look.production.production_id
        if look not in left_out:
            with surveying(ledger, look.production, settings) as survey:
                if as_json:
                    rows += [{"production": name, **row} for row in outcome_rows(survey)]
                else:
                    summaries[name] = Summary(survey)
    breakers = ledger.breakers.all_open()
    obstacle = _obstacle(home, ledger, looks)
    unusable = {look.production.production_id: _unusable(ledger, look.production) for look in looks}
    if as_json:
        _print_json(ledger, settings, looks, breakers, rows, unusable, obstacle)
    else:
        _print(ledger, settings, looks, breakers, summaries, unusable)
        if obstacle is not None:
            note(obstacle)
    for look in left_out if clips is None else []:
        name = look.production.production_id
        note(
            f"`sora-pipeline status --production {name}` lists what became of its {counted(look.clips, 'clip')}, trouble first"
        )
    raise typer.Exit(OK)


class _Unusable(NamedTuple):
    """Rows of a production's last reading that cannot be used.

    Attributes:
        rows: How many; None: its output cannot be read.
        listed_in: The file that says what is wrong with them; None: it is not written so far.
    """

    rows: int | None
    listed_in: str | None = None


def _unusable(ledger: "Ledger", production: "Production") -> _Unusable:
    from sora_pipeline.production.invalid_rows import invalid_rows
    from sora_pipeline.production.publishing import newest_failed
    from sora_pipeline.store import StoreError

    try:
        rows = sum(1 for _ in invalid_rows(ledger, production))
        return _Unusable(rows, newest_failed(production) if rows and production.published_at else None)
    except StoreError:  # all that the ledger knows is said nevertheless
        return _Unusable(None)


def _say_nothing_so_far(settings: "Settings", *, as_json: bool) -> None:
    if not as_json:
        console.print("nothing was produced so far; begin with `sora-pipeline run MANIFEST`")
        return
    today = {
        "account": settings.account_name,
        "spent_usd": 0.0,
        "committed_usd": 0.0,
        "budget_usd": dollars(settings.budget_daily_usd),
    }
    empty: dict[str, Any] = {"productions": [], "breakers": [], "paused_accounts": [], "clips": []}
    print_json({**empty, "today": today, "waits_for": None})


def _obstacle(home: "Path", ledger: "Ledger", looks: "list[Progress]") -> str | None:
    """Why nobody works for productions that have something to do; None: somebody does, or there is nothing."""
    from sora_pipeline.headless.home import open_instance
    from sora_pipeline.headless.obstacles import why_nothing_happens

    unsettled = [
        look.production for look in looks if look.production.pipeline == BUILT_IN and not look.settled
    ]
    if not unsettled:
        return None
    with open_instance(home) as instance:
        why = why_nothing_happens(instance, home, ledger, unsettled[0])
    return None if why is None else explained(why)


def _print_json(
    ledger: "Ledger",
    settings: "Settings",
    looks: "list[Progress]",
    breakers: "list[Breaker]",
    rows: list[dict[str, Any]],
    unusable: "Mapping[str, _Unusable]",
    obstacle: str | None,
) -> None:
    today = ledger.money.of_today(settings.account_name)
    print_json(
        {
            "productions": [_facts(look, unusable[look.production.production_id]) for look in looks],
            "today": {
                "account": settings.account_name,
                "spent_usd": float(today.spent_usd),
                "committed_usd": float(today.committed_usd),
                "budget_usd": dollars(settings.budget_daily_usd),
            },
            "breakers": [
                {
                    "account": breaker.account,
                    "model": breaker.model or None,
                    "kind": breaker.kind,
                    "message": breaker.message,
                    "opened_at": breaker.opened_at.isoformat(),
                    "probe_at": breaker.probe_at.isoformat(),
                }
                for breaker in breakers
            ],
            "paused_accounts": list(ledger.paused.accounts()),
            "waits_for": obstacle,
            "clips": rows,
        }
    )


def _facts(look: "Progress", unusable: _Unusable) -> dict[str, Any]:
    ours = (
        look.production.pipeline == BUILT_IN
    )  # what another pipeline waits for depends on settings that only it knows
    return {
        **production_facts(look),
        "invalid_rows": unusable.rows,
        "failed_csv": unusable.listed_in,
        "committed_usd": float(look.spending.committed_usd),
        "still_to_pay_usd": float(look.to_pay_usd),
        "budget_usd": dollars(look.production.budget_usd),
        "published": look.published,
        "paused": look.production.paused_at is not None,
        "stopped": None if look.stopped is None or not ours else explained(look.stopped),
        "error": look.production.error,
        "open_elsewhere": {account.name: count for account, count in look.elsewhere.items()} if ours else {},
    }


def _print(
    ledger: "Ledger",
    settings: "Settings",
    looks: "list[Progress]",
    breakers: "list[Breaker]",
    summaries: "Mapping[str, Summary]",
    unusable: "Mapping[str, _Unusable]",
) -> None:
    from sora_pipeline.admission.breaker import why_stopped
    from sora_pipeline.admission.holds import why_paused_account
    from sora_pipeline.admission.limits import account_of

    if not looks:
        _say_nothing_so_far(settings, as_json=False)
    for look in looks:
        _print_production(look, unusable[look.production.production_id])
    if settings.budget_daily_usd is not None:
        today = ledger.money.of_today(settings.account_name)
        limit = usd(settings.budget_daily_usd, simulated=account_of(settings).simulated)
        spent = f"{today.committed_usd:.2f} of {limit}"
        console.print(f"today (UTC), all productions at {settings.account_name}: {spent} spent or reserved")
    for reason in map(why_stopped, breakers):
        if all(look.stopped != reason for look in looks):
            warning(explained(reason))
    for name, since in ledger.paused.accounts().items():
        reason = why_paused_account(name, since)
        if all(look.stopped != reason for look in looks):
            note(explained(reason))
    stopped = {look.production.production_id: look.stopped for look in looks}
    for name, summary in summaries.items():
        console.print(styled("\n", (name, "bold")))
        console.print(summary.table(console.room))
        for sentence in summary.reasons(stopped[name]):
            note(sentence)
    tell_of_pretended(simulated=any(look.production.simulated for look in looks))


def _print_production(look: "Progress", unusable: _Unusable) -> None:
    from sora_pipeline.production.progress import why_left_open

    production = look.production
    counts = ", ".join(f"{count} {status}" for status, count in sorted(look.counts.items()))
    money = [f"{usd(look.spending.spent_usd, simulated=production.simulated)} billed"]
    if reserved := look.spending.committed_usd - look.spending.spent_usd:
        money.append(f"{reserved:.2f} reserved")
    if look.to_pay_usd:
        money.append(f"{look.to_pay_usd:.2f} still to pay")
    if production.budget_usd is not None:
        money.append(f"budget {production.budget_usd:.2f}")
    account = f" by {production.account}" if production.account else ""
    places = f"{account}  {production.manifest_uri} → {production.output_uri}"
    console.print(styled((production.production_id, "bold"), places))
    console.print(f"  {counts or 'not read yet'}; {', '.join(money)}")
    if unusable.rows:
        rows = counted(unusable.rows, "row of its manifest", "rows of its manifest")
        where = unusable.listed_in or f"`sora-pipeline check {production.manifest_uri}`"
        console.print(f"  {rows} cannot be used: {where} says what is wrong")
    if production.paused_at is not None and (
        look.stopped is None or look.stopped.code != "paused_production"
    ):
        console.print(
            f"  paused since {production.paused_at:%d %b %H:%M} UTC; `sora-pipeline resume --production {production.production_id}` "
            "lets it go on"
        )
    if production.error:
        warning(production.error)
    if production.pipeline != BUILT_IN:
        console.print(
            f"  of the pipeline {production.pipeline}, whose settings no command knows: the Dagster UI says what its sensors wait for"
        )
        return
    if look.stopped is not None:
        warning(explained(look.stopped))
    for elsewhere, count in look.elsewhere.items():
        warning(explained(why_left_open(elsewhere, count)))
