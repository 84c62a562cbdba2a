"""``sora-pipeline status``: how far every production is."""

import typer

from sora_pipeline.cli.output import OK, console, outcome_rows, print_json, problem, summary_table


def status(
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
    clips: bool = typer.Option(True, help="List the clips of the newest production."),
) -> None:
    """Say how far the productions of this Dagster home are. Asks the ledger only; costs nothing."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.production.publishing import survey
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings, ledger_url

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    ledger = Ledger(ledger_url(settings, prepare_home()))
    productions = ledger.productions.all()
    looks = [progress_of(ledger, each, settings, catalogue) for each in productions]
    breaker = ledger.breakers.get(settings.provider)
    newest = next((each for each in productions if each.snapshot_path), None)
    found = survey(ledger, newest, settings.max_attempts) if newest else None
    if as_json:
        print_json(
            {
                "productions": [
                    {
                        "production": look.production.production_id,
                        "manifest": look.production.manifest_uri,
                        "output": look.production.output_uri,
                        "clips": look.clips,
                        "counts": dict(look.counts),
                        "committed_usd": float(look.committed_usd),
                        "budget_usd": None if (most := look.production.budget_usd) is None else float(most),
                        "published": look.published,
                        "stopped": look.stopped,
                        "error": look.production.error,
                    }
                    for look in looks
                ],
                "breaker": None if breaker is None else {"kind": breaker.kind, "message": breaker.message},
                "clips": outcome_rows(*found) if found and clips else [],
            }
        )
        raise typer.Exit(OK)
    if not looks:
        console.print("nothing was produced so far; begin with `sora-pipeline run MANIFEST`")
        raise typer.Exit(OK)
    for look in looks:
        counts = ", ".join(f"{count} {what}" for what, count in sorted(look.counts.items())) or "not read yet"
        budget = look.production.budget_usd
        allowed = "" if budget is None else f" of {budget:.2f}"
        console.print(f"[bold]{look.production.manifest_uri}[/] → {look.production.output_uri}")
        console.print(f"  {counts}; {look.committed_usd:.2f}{allowed} USD billed or reserved")
        for trouble in filter(None, [look.production.error, look.stopped]):
            problem(trouble)
    if found and clips:
        console.print()
        console.print(summary_table(*found))
    raise typer.Exit(OK)
