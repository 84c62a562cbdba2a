"""``sora-pipeline run``: the whole job, headless."""

import uuid
from collections import Counter
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

import typer
from sqlalchemy.exc import DBAPIError

from sora_pipeline.advice import explained
from sora_pipeline.cli.money import Outlook, dollars
from sora_pipeline.cli.opening import ledger_of, open_home, require_same_settings
from sora_pipeline.cli.output import (
    BAD_INPUT,
    BUILT_IN,
    OK,
    SOME_FAILED,
    STOPPED,
    Summary,
    console,
    in_words,
    new_ledger_note,
    note,
    outcome_rows,
    print_json,
    problem,
    reading_notes,
    row_problems,
)
from sora_pipeline.errors import SoraPipelineError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal
    from pathlib import Path

    import dagster as dg

    from sora_pipeline.clip import Clip
    from sora_pipeline.headless.run import Ended
    from sora_pipeline.headless.run_processes import Executed, RunProcesses
    from sora_pipeline.ledger import Ledger, Plan, Production
    from sora_pipeline.production.naming import ProductionRequest
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.settings import Settings


def run(
    manifest: str = typer.Argument(help="CSV, Excel or Parquet file: path or fsspec URI."),
    name: str = typer.Option(
        "",
        help="Name of the production. Default: the manifest's file name. A daily manifest under one name is said with it.",
    ),
    output: str = typer.Option(
        "",
        help="Where its videos and manifests go: path or fsspec URI. Default: a folder of its own below SORA_OUTPUT.",
    ),
    budget: str = typer.Option(
        "",
        metavar="USD",
        help="US dollars that it may cost; holds until another is given, or none. Default: SORA_BUDGET_USD.",
    ),
    timeout: float = typer.Option(0, min=0, metavar="SECONDS", help="Stop watching after so long; 0: never."),
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object on standard output and nothing else."
    ),
) -> None:
    """Produce a manifest: read, submit, wait, download, check, publish. Ctrl-C loses nothing; run it again to go on.

    Exit code: 0 all clips delivered, 1 some failed, 2 bad input or configuration, 3 stopped early.
    """
    try:
        code = _run(manifest, name, output, budget, timeout, as_json=as_json)
    except KeyboardInterrupt:  # also a polite kill
        problem("stopped; nothing is lost, the same command goes on")
        code = STOPPED
    raise typer.Exit(code)


def _run(manifest: str, name: str, output: str, budget: str, timeout: float, *, as_json: bool) -> int:
    from sora_pipeline.headless.run_processes import RunProcesses, log_of_first_runs
    from sora_pipeline.imports import without_collection

    settings, home = open_home()
    lifted = budget.strip().lower() == "none"
    limit = _budget(budget) if budget and not lifted else None
    # First of all: it loads the code location while we read the manifest.
    with closing(RunProcesses(log_of_first_runs(home))) as processes, ExitStack() as stack:
        with without_collection():
            from sora_pipeline.headless.home import open_instance
            from sora_pipeline.production.naming import ProductionRequest
            from sora_pipeline.provider.catalogue import load_catalogue
            from sora_pipeline.sandbox.embedded import check_installed
            from sora_pipeline.uris import Uri, absolute_uri

            ledger = ledger_of(settings, home)
            instance = stack.enter_context(open_instance(home))
            if require_same_settings(ledger, settings, home, instance):
                processes.close()  # the daemon does everything
            else:
                processes.go_ahead()
            if _embeds_sandbox(settings):
                check_installed()
            catalogue = load_catalogue(settings.catalogue)
            request = ProductionRequest(
                manifest=Uri(absolute_uri(manifest)), name=name, output=output, budget_usd=limit
            )
            # Before any daemon starts: what is wrong with the file is said at once, and costs nothing.
            plan, wanted = _plan(ledger, settings, catalogue, request, quiet=as_json)
            for sentence in new_ledger_note(ledger, home, simulated=plan.account.simulated):
                note(sentence)
            # A daemon would only log why it cannot load the code location, and everybody would wait for ever.
            import sora_pipeline.definitions  # noqa: F401
        # A person who runs it again has dealt with what stopped it.
        ledger.breakers.close(settings.account_name)
        requested = ledger.productions.request(plan, request.manifest, wanted=wanted)
        if lifted:
            ledger.productions.lift_budget(requested.production_id)
        try:
            ended = _produce(
                ledger, settings, catalogue, requested, home, instance, processes, timeout or None
            )
        except (SoraPipelineError, DBAPIError) as error:  # something may be submitted
            problem(in_words(error))
            return STOPPED
    try:
        code = _finish(ledger, settings, requested, ended, as_json=as_json)
        if settings.notify_url:
            # Our daemon has ended, and with it the sensor that tells.
            _notify(ledger, settings, catalogue, requested)
    except (SoraPipelineError, DBAPIError) as error:
        problem(in_words(error))
        return STOPPED
    return code


def _plan(
    ledger: "Ledger",
    settings: "Settings",
    catalogue: "Catalogue",
    request: "ProductionRequest",
    *,
    quiet: bool,
) -> "tuple[Plan, Sequence[Clip] | None]":
    """Read and check the manifest, and say what it comes to; also all clips that it asks for, unless it only amends some."""
    from sora_pipeline.production.earlier_readings import EarlierReadings
    from sora_pipeline.production.estimates import estimate
    from sora_pipeline.production.intake import (
        amendable,
        open_production,
        read_snapshot,
        require_affordable,
        with_amendments,
    )
    from sora_pipeline.production.progress import open_elsewhere, why_left_open

    intake = open_production(ledger, settings, BUILT_IN, request)
    decided, plan = intake.decided, intake.decided.plan
    read = read_snapshot(intake.file, settings, catalogue, explained, EarlierReadings(ledger, decided))
    snapshot = with_amendments(ledger, decided, read)
    require_affordable(ledger, decided, snapshot)
    costs = estimate(snapshot.clips, ledger, plan.production_id, catalogue)
    if not quiet:
        row_problems(snapshot)
    if not snapshot.clips:
        problem(f"{request.manifest} has no valid row; nothing was submitted")
        raise typer.Exit(BAD_INPUT)
    for sentence in reading_notes(snapshot, decided):
        note(sentence)
    if decided.amends and (strangers := amendable(snapshot, decided, ledger)[1]):
        problem(
            f"not rows of {plan.production_id}, and left out: {', '.join(strangers[:10])}. A file of mended rows amends those "
            "that are there; put new ones into the campaign's manifest"
        )
    dollars_meant = " (in sandbox dollars)" if plan.account.simulated else ""
    note(
        f"production {plan.production_id}: {len(snapshot.clips)} clips into {plan.output_uri}{dollars_meant}"
    )
    for sentence in Outlook.of(ledger, settings, costs, decided=decided).sentences:
        note(sentence)
    for account, count in open_elsewhere(ledger, settings, plan.production_id).items():
        note(explained(why_left_open(account, count)))
    return plan, None if decided.amends else snapshot.clips


def _produce(
    ledger: "Ledger",
    settings: "Settings",
    catalogue: "Catalogue",
    requested: "Production",
    home: "Path",
    instance: "dg.DagsterInstance",
    processes: "RunProcesses",
    timeout_s: float | None,
) -> "Ended":
    """Watch the production until nothing changes any more; the embedded sandbox lives as long."""
    from sora_pipeline.cli.display import ProgressDisplay
    from sora_pipeline.definitions import defs
    from sora_pipeline.headless.first_runs import FirstRuns
    from sora_pipeline.headless.run import HeadlessRun
    from sora_pipeline.headless.run_processes import log_of_first_runs
    from sora_pipeline.names import PipelineNames
    from sora_pipeline.runtime import PipelineRuntime
    from sora_pipeline.sandbox.embedded import ensure_sandbox, stop_sandbox

    sandbox_started = False
    if _embeds_sandbox(settings):
        sandbox_started = ensure_sandbox(home / "sandbox").started
    try:
        with ProgressDisplay() as display:
            runtime = PipelineRuntime(PipelineNames(), settings)
            first_runs = FirstRuns(instance, defs, runtime, processes, log_of_first_runs(home))
            headless = HeadlessRun(
                instance,
                home,
                ledger,
                settings,
                catalogue,
                first_runs if processes.alive else None,
                timeout_s=timeout_s,
                show=display.show,
                ended=partial(_tell_of_failure, settings),
            )
            return headless.produce(requested)
    finally:
        if sandbox_started:
            stop_sandbox(home / "sandbox")


def _tell_of_failure(settings: "Settings", executed: "Executed") -> None:
    """Tell the webhook of a run of ours that failed: the daemon's sensor knows only those that a code server started."""
    from sora_pipeline.automation.notifications import clips_of
    from sora_pipeline.notifications.messages import failed_run_message
    from sora_pipeline.notifications.webhook import NotificationError, send

    if executed.failed is None or not settings.notify_url:
        return
    request = executed.request
    message = failed_run_message(
        request.job_name or "", executed.run_id, clips_of(request.tags), executed.failed, settings.ui_url
    )
    try:
        send(message, settings)
    except NotificationError as error:
        note(explained(error))


def _embeds_sandbox(settings: "Settings") -> bool:
    return settings.provider == "sandbox" and settings.base_url is None


def _budget(text: str) -> "Decimal":
    from sora_pipeline.admission.budgets import budget_of

    try:
        return budget_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--budget") from None


def _notify(ledger: "Ledger", settings: "Settings", catalogue: "Catalogue", requested: "Production") -> None:
    """Tell the webhook what became of the production; where that fails, a daemon does it later."""
    from sora_pipeline.names import PipelineNames
    from sora_pipeline.notifications.webhook import NotificationError, notify_if_settled
    from sora_pipeline.store import StoreError

    production = ledger.productions.get(requested.production_id)
    if production.snapshot_path is None:
        return
    try:
        notify_if_settled(ledger, production, settings, catalogue, PipelineNames().video_manifest.path)
    except (NotificationError, StoreError) as error:
        note(f"{explained(error).rstrip('.')}; the next daemon tries again")


def _finish(
    ledger: "Ledger", settings: "Settings", requested: "Production", ended: "Ended", *, as_json: bool
) -> int:
    """Print what became of everything, and say it in the exit code."""
    from sora_pipeline.production.publishing import (
        GALLERY,
        PARQUET,
        is_published,
        newest_failed,
        publish,
    )
    from sora_pipeline.production.surveys import surveying

    if ended.problem is not None:
        problem(ended.problem)
        return BAD_INPUT
    production = ledger.productions.get(requested.production_id)
    if production.snapshot_path is None:
        problem(ended.stopped or "nothing was read")
        return STOPPED
    if not is_published(production):
        publish(ledger, production.production_id, settings, f"sora-pipeline run {uuid.uuid4().hex[:8]}")
    with surveying(ledger, production, settings) as survey:
        rows = outcome_rows(survey) if as_json else []
        summary = None if as_json else Summary(survey)
    counts = summary.counts if summary else Counter(row["status"] for row in rows)
    code = OK if counts["delivered"] == counts.total() else SOME_FAILED
    if ended.stopped is not None:
        code = STOPPED
    spending = ledger.money.of_production(production.production_id)
    if as_json:
        print_json(
            {
                "exit_code": code,
                "stopped": ended.stopped,
                "production": production.production_id,
                "account": production.account,
                "simulated": production.simulated,
                "manifest": production.manifest_uri,
                "output": production.output_uri,
                "metadata": f"{production.output_uri}/{PARQUET}",
                "gallery": f"{production.output_uri}/{GALLERY}",
                "counts": dict(counts),
                "spent_usd": float(spending.spent_usd),
                "committed_usd": float(spending.committed_usd),
                "budget_usd": dollars(production.budget_usd),
                "clips": rows,
            }
        )
        return code
    assert summary is not None
    console.print(summary.table())
    clips = counts.total() - counts["invalid"]
    console.print(
        f"\n{counts['delivered']} of {clips} clips delivered, {spending.spent_usd:.2f} USD billed in all"
    )
    console.print(f"manifest {production.output_uri}/{PARQUET}\ngallery  {production.output_uri}/{GALLERY}")
    if ended.stopped is not None:
        problem(ended.stopped)
    elif code == SOME_FAILED:
        for sentence in _what_next(counts, production, newest_failed(production)):
            note(sentence)
    return code


def _what_next(counts: "Counter[str]", production: "Production", failed: str) -> list[str]:
    """What can be done about clips that have no video."""
    sentences = []
    if counts["failed"] or counts["invalid"]:
        sentences.append(
            f"failed rows are in {failed}: mend and run that file, or `sora-pipeline retry` to try the same once more"
        )
    if counts["ambiguous"]:
        sentences.append(
            f"{counts['ambiguous']} may have been billed although no answer came: look at the provider's dashboard, then "
            f"`sora-pipeline retry --production {production.production_id} --clip ID` has one submitted again"
        )
    return sentences
