"""``sora-pipeline status``: how far every production is."""

from typing import TYPE_CHECKING, Any

import typer

from sora_pipeline.advice import explained
from sora_pipeline.cli.money import dollars
from sora_pipeline.cli.output import (
    BUILT_IN,
    OK,
    Summary,
    console,
    note,
    outcome_rows,
    print_json,
    problem,
    production_facts,
)
from sora_pipeline.cli.productions import PRODUCTION, selected
from sora_pipeline.cli.terminal import styled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

    from sora_pipeline.ledger import Ledger
    from sora_pipeline.ledger.breakers import Breaker
    from sora_pipeline.production.progress import Progress
    from sora_pipeline.settings import Settings


MOST_LISTED = 1_000
"""Clips of a production whose table is shown although nobody asked for it."""


def status(
    production: list[str] = PRODUCTION,
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
    clips: bool | None = typer.Option(
        None,
        "--clips/--no-clips",
        help="List the clips of the newest production, or of those named. By default not as a table where it has more than "
        f"{MOST_LISTED:,} and is not named: that means reading all of them.",
    ),
) -> None:
    """Say how far the productions of this Dagster home are. Asks the ledger only; costs nothing."""
    from sora_pipeline.admission.holds import still_to_pay_usd
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.production.surveys import surveying
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings, ledger_url

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    ledger = Ledger(ledger_url(settings, prepare_home()))
    productions = selected(ledger, production)
    looks = [progress_of(ledger, chosen, settings, catalogue) for chosen in productions]
    to_pay = {
        chosen.production_id: still_to_pay_usd(ledger, chosen, settings, catalogue) for chosen in productions
    }
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
    if as_json:
        _print_json(ledger, settings, looks, to_pay, breakers, rows)
    else:
        _print(ledger, settings, looks, to_pay, breakers, summaries)
    for look in left_out if clips is None else []:
        name = look.production.production_id
        note(
            f"`sora-pipeline status --production {name}` lists what became of its {look.clips:,} clips, trouble first"
        )
    raise typer.Exit(OK)


def _print_json(
    ledger: "Ledger",
    settings: "Settings",
    looks: "list[Progress]",
    to_pay: "Mapping[str, Decimal]",
    breakers: "list[Breaker]",
    rows: list[dict[str, Any]],
) -> None:
    today = ledger.money.of_today(settings.account_name)
    print_json(
        {
            "productions": [_facts(look, to_pay[look.production.production_id]) for look in looks],
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
            "clips": rows,
        }
    )


def _facts(look: "Progress", to_pay: "Decimal") -> dict[str, Any]:
    ours = (
        look.production.pipeline == BUILT_IN
    )  # what another pipeline waits for depends on settings that only it knows
    return {
        **production_facts(look),
        "committed_usd": float(look.spending.committed_usd),
        "still_to_pay_usd": float(to_pay),
        "budget_usd": dollars(look.production.budget_usd),
        "published": look.published,
        "stopped": None if look.stopped is None or not ours else explained(look.stopped),
        "error": look.production.error,
        "open_elsewhere": {account.name: count for account, count in look.elsewhere.items()} if ours else {},
    }


def _print(
    ledger: "Ledger",
    settings: "Settings",
    looks: "list[Progress]",
    to_pay: "Mapping[str, Decimal]",
    breakers: "list[Breaker]",
    summaries: "Mapping[str, Summary]",
) -> None:
    from sora_pipeline.admission.breaker import why_stopped

    if not looks:
        console.print("nothing was produced so far; begin with `sora-pipeline run MANIFEST`")
        return
    for look in looks:
        _print_production(look, to_pay[look.production.production_id])
    if settings.budget_daily_usd is not None:
        today = ledger.money.of_today(settings.account_name)
        spent = f"{today.committed_usd:.2f} of {settings.budget_daily_usd:.2f} USD"
        console.print(f"today (UTC), all productions at {settings.account_name}: {spent} spent or reserved")
    for breaker in breakers:
        reason = why_stopped(breaker)
        if all(look.stopped != reason for look in looks):
            problem(explained(reason))
    for name, summary in summaries.items():
        console.print(styled("\n", (name, "bold")))
        console.print(summary.table())


def _print_production(look: "Progress", to_pay: "Decimal") -> None:
    from sora_pipeline.production.progress import why_left_open

    production = look.production
    counts = ", ".join(f"{count} {status}" for status, count in sorted(look.counts.items()))
    unit = "sandbox USD" if production.simulated else "USD"
    money = [f"{look.spending.spent_usd:.2f} {unit} billed"]
    if reserved := look.spending.committed_usd - look.spending.spent_usd:
        money.append(f"{reserved:.2f} reserved")
    if to_pay:
        money.append(f"{to_pay:.2f} still to pay")
    if production.budget_usd is not None:
        money.append(f"budget {production.budget_usd:.2f}")
    account = f" by {production.account}" if production.account else ""
    places = f"{account}  {production.manifest_uri} → {production.output_uri}"
    console.print(styled((production.production_id, "bold"), places))
    console.print(f"  {counts or 'not read yet'}; {', '.join(money)}")
    if production.error:
        problem(production.error)
    if production.pipeline != BUILT_IN:
        console.print(
            f"  of the pipeline {production.pipeline}, whose settings no command knows: the Dagster UI says what its sensors wait for"
        )
        return
    if look.stopped is not None:
        problem(explained(look.stopped))
    for elsewhere, count in look.elsewhere.items():
        problem(explained(why_left_open(elsewhere, count)))
