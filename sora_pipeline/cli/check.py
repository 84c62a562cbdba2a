"""``sora-pipeline check``: is the manifest right, and what will it cost?"""

import typer

from sora_pipeline.cli.money import Outlook
from sora_pipeline.cli.output import BAD_INPUT, OK, console, print_json, row_problems


def check(
    manifest: str = typer.Argument(help="CSV or Parquet file: path or fsspec URI."),
    as_json: bool = typer.Option(False, "--json", help="One JSON object on standard output."),
) -> None:
    """Check every row of a manifest and estimate what it costs. Submits nothing."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.reading import estimate, read_snapshot
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings, ledger_url
    from sora_pipeline.uris import absolute_uri

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    snapshot = read_snapshot(absolute_uri(manifest), settings, catalogue)
    ledger = Ledger(ledger_url(settings, prepare_home()))
    outlook = Outlook.of(
        ledger,
        settings,
        estimate(snapshot.clips, ledger, catalogue),
        manifest=snapshot.manifest_uri,
        output=settings.output,
        budget_usd=settings.budget_usd,
    )
    code = BAD_INPUT if snapshot.problems else OK
    if as_json:
        print_json(
            {
                "manifest": snapshot.manifest_uri,
                "clips": len(snapshot.clips),
                "invalid_rows": len(snapshot.invalid),
                **outlook.as_json(),
                "problems": [
                    {
                        "row": each.row_number,
                        "column": each.column,
                        "value": each.value,
                        "problem": each.message,
                        "allowed": each.allowed,
                    }
                    for each in snapshot.problems
                ],
            }
        )
        raise typer.Exit(code)
    row_problems(snapshot)
    verdict = f"{len(snapshot.clips)} clips are fine"
    if snapshot.invalid:
        verdict += f", {len(snapshot.invalid)} rows are not (the fine ones can be produced all the same)"
    console.print(verdict)
    for sentence in outlook.sentences:
        console.print(sentence)
    if settings.provider == "sandbox":
        console.print("the provider is the built-in sandbox: its dollars are not real", style="dim")
    raise typer.Exit(code)
