"""``sora-pipeline check``: is the manifest right, and what will it cost?"""

from typing import TYPE_CHECKING, Any

import typer

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted
from sora_pipeline.cli.beside import Beside, beside_note, going_on
from sora_pipeline.cli.money import Outlook, tell_of_pretended
from sora_pipeline.cli.output import (
    AS_JSON,
    BAD_INPUT,
    BUILT_IN,
    OK,
    console,
    leaving,
    leaving_note,
    new_ledger_note,
    note,
    print_json,
    reading_notes,
    row_problems,
    unusable_note,
)
from sora_pipeline.status import ClipStatus

if TYPE_CHECKING:
    from collections import Counter

    from sora_pipeline.manifest.snapshot import Snapshot
    from sora_pipeline.production.naming import Decided


def check(
    manifest: str = typer.Argument(help="CSV, Excel, Parquet or JSON Lines file: path or fsspec URI."),
    name: str = typer.Option("", help="Name of the production. Default: the manifest's file name."),
    output: str = typer.Option("", help="Where its videos would go. Default: a folder below SORA_OUTPUT."),
    as_json: bool = AS_JSON,
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
        unsent_but_unusable,
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
    costs = estimate(snapshot.clips, ledger, decided.plan.production_id, catalogue, settings.max_attempts)
    outlook = Outlook.of(ledger, settings, catalogue, costs, snapshot, decided)
    left = leaving(ledger, snapshot, decided)
    unusable = unsent_but_unusable(snapshot, decided, ledger, settings.max_attempts)
    code = BAD_INPUT if snapshot.problems else OK
    beside = going_on(ledger, settings, catalogue, decided.plan.production_id)
    if as_json:
        print_json(_as_json(snapshot, decided, outlook, left, unusable, beside))
        raise typer.Exit(code)
    row_problems(snapshot)
    for sentence in (
        *reading_notes(snapshot, decided),
        *leaving_note(left, decided.plan.production_id),
        *unusable_note(unusable),
        *beside_note(beside, simulated=outlook.simulated),
        *new_ledger_note(ledger, home, simulated=decided.plan.account.simulated),
    ):
        note(sentence)
    console.print(f"production {decided.plan.production_id}, into {decided.plan.output_uri}")
    console.print(_verdict(len(snapshot.clips), len(snapshot.invalid)))
    for sentence in outlook.sentences:
        console.print(sentence)
    tell_of_pretended(simulated=outlook.simulated)
    raise typer.Exit(code)


def _as_json(
    snapshot: "Snapshot",
    decided: "Decided",
    outlook: Outlook,
    left: "Counter[str]",
    unusable: list[str],
    beside: list[Beside],
) -> dict[str, Any]:
    """For scripts."""
    return {
        "production": decided.plan.production_id,
        "manifest": snapshot.manifest_uri,
        "output": decided.plan.output_uri,
        "amends": decided.amends,
        "ignored_columns": list(snapshot.ignored_columns),
        "understood": snapshot.understanding.sentences,
        "clips": len(snapshot.clips),
        "invalid_rows": len(snapshot.invalid),
        "amended_clips": list(snapshot.amended_ids),
        "cancelled_by_unusable_rows": unusable,
        "leaving_clips": left.total(),
        "leaving_delivered": left[ClipStatus.DELIVERED],
        "other_productions": [each.as_json() for each in beside],
        **outlook.as_json(),
        "problems": [
            {
                "row": row_problem.shown_number,
                "row_number": row_problem.row_number,
                "place": row_problem.shown_place,
                "clip_id": row_problem.clip_id,
                "column": row_problem.column,
                "value": row_problem.value,
                "problem": row_problem.message,
                "allowed": row_problem.allowed,
                "suggestion": row_problem.suggestion or None,
                "passing": row_problem.passing,
            }
            for row_problem in snapshot.problems
        ],
        "images_not_read": [
            {
                "row": image.shown_number,
                "row_number": image.row_number,
                "place": image.place,
                "clip_id": image.clip_id,
                "problem": image.problem,
            }
            for image in snapshot.standing_images
        ],
    }


def _verdict(clips: int, invalid: int) -> str:
    """How many clips can be made, and how many rows cannot."""
    rows = counted(invalid, "row")
    if not clips:
        return (
            f"nothing can be produced: {rows} cannot be used"
            if invalid
            else "nothing can be produced: there is no row"
        )
    fine = counted(clips, "clip is", "clips are") + " fine"
    return f"{fine}, {rows} cannot be used (what is fine can be produced all the same)" if invalid else fine
