"""``sora-pipeline check``: is the manifest right, and what will it cost?"""

import typer

from sora_pipeline.advice import explained
from sora_pipeline.cli.money import Outlook
from sora_pipeline.cli.output import (
    BAD_INPUT,
    BUILT_IN,
    OK,
    console,
    new_ledger_note,
    note,
    print_json,
    reading_notes,
    row_problems,
)


def check(
    manifest: str = typer.Argument(help="CSV, Excel or Parquet file: path or fsspec URI."),
    name: str = typer.Option("", help="Name of the production. Default: the manifest's file name."),
    output: str = typer.Option("", help="Where its videos would go. Default: a folder below SORA_OUTPUT."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Check every row of a manifest and estimate what it costs. Submits nothing."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.earlier_readings import EarlierReadings
    from sora_pipeline.production.estimates import estimate
    from sora_pipeline.production.intake import (
        open_production,
        read_snapshot,
        require_affordable,
        with_amendments,
    )
    from sora_pipeline.production.naming import ProductionRequest
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings, ledger_url
    from sora_pipeline.uris import Uri, absolute_uri

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    home = prepare_home()
    ledger = Ledger(ledger_url(settings, home))
    request = ProductionRequest(manifest=Uri(absolute_uri(manifest)), name=name, output=output)
    intake = open_production(ledger, settings, BUILT_IN, request)
    read = read_snapshot(intake.file, settings, catalogue, explained, EarlierReadings(ledger, intake.decided))
    snapshot = with_amendments(ledger, intake.decided, read)
    decided = intake.decided
    require_affordable(ledger, decided, snapshot)
    costs = estimate(snapshot.clips, ledger, decided.plan.production_id, catalogue)
    outlook = Outlook.of(ledger, settings, costs, decided=decided)
    code = BAD_INPUT if snapshot.problems else OK
    if as_json:
        print_json(
            {
                "production": decided.plan.production_id,
                "manifest": snapshot.manifest_uri,
                "output": decided.plan.output_uri,
                "amends": decided.amends,
                "ignored_columns": list(snapshot.ignored_columns),
                "clips": len(snapshot.clips),
                "invalid_rows": len(snapshot.invalid),
                **outlook.as_json(),
                "problems": [
                    {
                        "row": row_problem.row_number,
                        "column": row_problem.column,
                        "value": row_problem.value,
                        "problem": row_problem.message,
                        "allowed": row_problem.allowed,
                        "passing": row_problem.passing,
                    }
                    for row_problem in snapshot.problems
                ],
                "images_not_read": [
                    {"row": image.row_number, "clip_id": image.clip_id, "problem": image.problem}
                    for image in snapshot.standing_images
                ],
            }
        )
        raise typer.Exit(code)
    row_problems(snapshot)
    for sentence in (
        *reading_notes(snapshot, decided),
        *new_ledger_note(ledger, home, simulated=decided.plan.account.simulated),
    ):
        note(sentence)
    console.print(f"production {decided.plan.production_id}, into {decided.plan.output_uri}")
    verdict = f"{len(snapshot.clips)} clips are fine"
    if snapshot.invalid:
        verdict += f", {len(snapshot.invalid)} rows are not (the fine ones can be produced all the same)"
    console.print(verdict)
    for sentence in outlook.sentences:
        console.print(sentence)
    if settings.provider == "sandbox":
        console.print("the provider is the built-in sandbox: its dollars are not real", style="dim")
    raise typer.Exit(code)
