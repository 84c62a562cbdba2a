"""``sora-pipeline status``: how far every production is."""

import typer

from sora_pipeline.cli.money import dollars
from sora_pipeline.cli.output import (
    OK,
    console,
    outcome_rows,
    print_json,
    problem,
    production_facts,
    summary_table,
)


def status(
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
    clips: bool = typer.Option(True, help="List the clips of the newest production."),
) -> None:
    """Say how far the productions of this Dagster home are. Asks the ledger only; costs nothing."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.holding import still_to_pay_usd
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.production.publishing import survey
    from sora_pipeline.production.stopping import stop_sentence
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings, ledger_url

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    ledger = Ledger(ledger_url(settings, prepare_home()))
    productions = ledger.productions.all()
    looks = [progress_of(ledger, each, settings, catalogue) for each in productions]
    to_pay = {each.production_id: still_to_pay_usd(ledger, each, settings, catalogue) for each in productions}
    today = ledger.money.of_today(settings.provider)
    breaker = ledger.breakers.get(settings.provider)
    newest = next((each for each in productions if each.snapshot_path), None)
    found = survey(ledger, newest, settings) if newest else None
    if as_json:
        print_json(
            {
                "productions": [
                    {
                        **production_facts(look),
                        "committed_usd": float(look.spending.committed_usd),
                        "still_to_pay_usd": float(to_pay[look.production.production_id]),
                        "budget_usd": dollars(look.production.budget_usd),
                        "published": look.published,
                        "stopped": look.stopped,
                        "error": look.production.error,
                    }
                    for look in looks
                ],
                "today": {
                    "provider": settings.provider,
                    "spent_usd": float(today.spent_usd),
                    "committed_usd": float(today.committed_usd),
                    "budget_usd": dollars(settings.budget_daily_usd),
                },
                "breaker": None
                if breaker is None
                else {
                    "kind": breaker.kind,
                    "message": breaker.message,
                    "opened_at": breaker.opened_at.isoformat(),
                    "probe_at": breaker.probe_at.isoformat(),
                },
                "clips": outcome_rows(*found) if found and clips else [],
            }
        )
        raise typer.Exit(OK)
    if not looks:
        console.print("nothing was produced so far; begin with `sora-pipeline run MANIFEST`")
        raise typer.Exit(OK)
    for look in looks:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(look.counts.items())) or "not read yet"
        money = [f"{look.spending.spent_usd:.2f} USD billed"]
        if reserved := look.spending.committed_usd - look.spending.spent_usd:
            money.append(f"{reserved:.2f} reserved")
        if unpaid := to_pay[look.production.production_id]:
            money.append(f"{unpaid:.2f} still to pay")
        if (budget := look.production.budget_usd) is not None:
            money.append(f"budget {budget:.2f}")
        console.print(f"[bold]{look.production.manifest_uri}[/] → {look.production.output_uri}")
        console.print(f"  {counts}; {', '.join(money)}")
        for trouble in filter(None, [look.production.error, look.stopped]):
            problem(trouble)
    if settings.budget_daily_usd is not None:
        spent = f"{today.committed_usd:.2f} of {settings.budget_daily_usd:.2f} USD"
        console.print(f"today (UTC), all productions: {spent} spent or reserved")
    if breaker is not None and not any(look.stopped for look in looks):
        problem(stop_sentence(breaker))
    if found and clips:
        console.print()
        console.print(summary_table(*found))
    raise typer.Exit(OK)
