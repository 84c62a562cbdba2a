"""``sora-pipeline run``: the whole job, headless."""

import uuid
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import typer

from sora_pipeline.cli.display import ProgressDisplay
from sora_pipeline.cli.money import Outlook, dollars
from sora_pipeline.cli.output import (
    BAD_INPUT,
    OK,
    SOME_FAILED,
    STOPPED,
    console,
    note,
    outcome_rows,
    print_json,
    problem,
    row_problems,
    summary_table,
)

if TYPE_CHECKING:
    from sora_pipeline.headless.run import Ended
    from sora_pipeline.ledger import Ledger, Production
    from sora_pipeline.settings import Settings


def run(
    manifest: str = typer.Argument(help="CSV or Parquet file: path or fsspec URI."),
    output: str = typer.Option(
        "", help="Where videos and manifests go: path or fsspec URI. Default: SORA_OUTPUT."
    ),
    budget: str = typer.Option(
        "", metavar="USD", help="US dollars that may be spent. Default: SORA_BUDGET_USD."
    ),
    timeout: float = typer.Option(0, min=0, metavar="SECONDS", help="Stop watching after so long; 0: never."),
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object on standard output and nothing else."
    ),
) -> None:
    """Produce a manifest: read, submit, wait, download, check, publish. Ctrl-C loses nothing; run it again to go on.

    Exit code: 0 all clips delivered, 1 some failed, 2 bad input or configuration, 3 stopped early.
    """
    import os

    import dagster as dg

    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.headless.run import HeadlessRun
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.reading import estimate, read_snapshot
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.sandbox.embedded import ensure_sandbox, stop_sandbox
    from sora_pipeline.settings import Settings, ledger_url
    from sora_pipeline.uris import absolute_uri

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    budget_usd = _budget(budget) if budget else settings.budget_usd
    home, uri = prepare_home(), absolute_uri(manifest)
    target = absolute_uri(output) if output else settings.output
    ledger = Ledger(ledger_url(settings, home))
    # Before any daemon starts: what is wrong with the file is said at once, and costs nothing.
    snapshot = read_snapshot(uri, settings, catalogue)
    costs = estimate(snapshot.clips, ledger, catalogue)
    if not as_json:
        row_problems(snapshot)
    if not snapshot.clips:
        problem(f"{uri} has no valid row; nothing was submitted")
        raise typer.Exit(BAD_INPUT)
    note(
        f"{len(snapshot.clips)} clips into {target}"
        f"{' (in sandbox dollars)' if settings.provider == 'sandbox' else ''}"
    )
    outlook = Outlook.of(ledger, settings, costs, manifest=uri, output=target, budget_usd=budget_usd)
    for sentence in outlook.sentences:
        note(sentence)
    # The daemon would only log why it cannot load the code location, and everybody would wait for ever.
    import sora_pipeline.definitions  # noqa: F401

    sandbox_started = False
    if settings.provider == "sandbox" and settings.base_url is None:
        sandbox_started = ensure_sandbox(home / "sandbox").started
    # A person who runs it again has dealt with what stopped it.
    ledger.breakers.close(settings.provider)
    requested = ledger.productions.request(uri, target, budget_usd)
    os.environ["SORA_OUTPUT"] = target
    try:
        with ProgressDisplay() as display, dg.DagsterInstance.get() as instance:
            headless = HeadlessRun(
                instance, home, ledger, settings, catalogue, timeout_s=timeout or None, show=display.show
            )
            ended = headless.produce(requested)
    except KeyboardInterrupt:  # also a polite kill
        problem("stopped; nothing is lost, the same command goes on")
        raise typer.Exit(STOPPED) from None
    finally:
        if sandbox_started:
            stop_sandbox(home / "sandbox")
    raise typer.Exit(_finish(ledger, settings, requested, ended, as_json=as_json))


def _budget(text: str) -> Decimal:
    try:
        budget = Decimal(text)
    except InvalidOperation:
        budget = Decimal(-1)
    if not budget.is_finite() or budget < 0:
        raise typer.BadParameter(
            f"{text!r} is not an amount of US dollars such as 25 or 12.50", param_hint="--budget"
        )
    return budget


def _finish(
    ledger: "Ledger", settings: "Settings", requested: "Production", ended: "Ended", *, as_json: bool
) -> int:
    """Print what became of everything, and say it in the exit code."""
    from sora_pipeline.production.publishing import FAILED, GALLERY, PARQUET, publish, survey

    if ended.problem is not None:
        problem(ended.problem)
        return BAD_INPUT
    production = ledger.productions.get(requested.production_id)
    if production.snapshot_path is None:
        problem(ended.stopped or "nothing was read")
        return STOPPED
    if production.published_seq < production.change_seq:
        publish(ledger, production.production_id, settings, f"sora-pipeline run {uuid.uuid4().hex[:8]}")
    snapshot, outcomes = survey(ledger, production, settings)
    undelivered = [each for each in outcomes if each.status != "delivered"]
    code = OK if not undelivered and not snapshot.invalid else SOME_FAILED
    if ended.stopped is not None:
        code = STOPPED
    spending = ledger.money.of_production(production.production_id)
    if as_json:
        counts: dict[str, int] = {}
        for row in (rows := outcome_rows(snapshot, outcomes)):
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        print_json(
            {
                "exit_code": code,
                "stopped": ended.stopped,
                "manifest": production.manifest_uri,
                "output": production.output_uri,
                "metadata": f"{production.output_uri}/{PARQUET}",
                "gallery": f"{production.output_uri}/{GALLERY}",
                "counts": counts,
                "spent_usd": float(spending.spent_usd),
                "committed_usd": float(spending.committed_usd),
                "budget_usd": dollars(production.budget_usd),
                "clips": rows,
            }
        )
        return code
    console.print(summary_table(snapshot, outcomes))
    delivered = len(outcomes) - len(undelivered)
    console.print(
        f"\n{delivered} of {len(outcomes)} clips delivered, {spending.spent_usd:.2f} USD billed in all"
    )
    console.print(f"manifest {production.output_uri}/{PARQUET}\ngallery  {production.output_uri}/{GALLERY}")
    if ended.stopped is not None:
        problem(ended.stopped)
    elif code == SOME_FAILED:
        note(
            f"failed rows are in {production.output_uri}/{FAILED}: mend and run that file, "
            "or `sora-pipeline retry` to try the same once more"
        )
    return code
