"""``sora-pipeline run``: the whole job, headless."""

import uuid
from collections import Counter
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING, Any

import typer
from sqlalchemy.exc import DBAPIError

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted, listed, usd
from sora_pipeline.cli.beside import beside_note, going_on
from sora_pipeline.cli.budget import budget_given
from sora_pipeline.cli.money import Outlook, dollars, tell_of_pretended
from sora_pipeline.cli.opening import ledger_of, open_home, require_same_settings
from sora_pipeline.cli.output import (
    AS_JSON,
    BAD_INPUT,
    BUILT_IN,
    OK,
    SOME_FAILED,
    STOPPED,
    Summary,
    console,
    in_words,
    leaving,
    leaving_note,
    new_ledger_note,
    note,
    outcome_rows,
    print_json,
    problem,
    reading_notes,
    row_problems,
    unusable_note,
)
from sora_pipeline.errors import Reason, SoraPipelineError
from sora_pipeline.status import CANCELLED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import dagster as dg

    from sora_pipeline.clip import Clip
    from sora_pipeline.headless.run import Ended
    from sora_pipeline.headless.run_processes import Executed, RunProcesses
    from sora_pipeline.ledger import Ledger, Plan, Production
    from sora_pipeline.ledger.spending import Spending
    from sora_pipeline.production.naming import ProductionRequest
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.settings import Settings


def run(
    manifest: str = typer.Argument(help="CSV, Excel, Parquet or JSON Lines file: path or fsspec URI."),
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
    as_json: bool = AS_JSON,
) -> None:
    """Produce a manifest: read, submit, wait, download, check, publish. Ctrl-C loses nothing; run it again to go on.

    Exit code: 0 all clips delivered, 1 some failed, 2 bad input or configuration, 3 stopped early.
    """
    handed_in: list[str] = []
    try:
        code = _run(manifest, name, output, budget, timeout, handed_in, as_json=as_json)
    except KeyboardInterrupt:  # also a polite kill
        problem(_stopped(handed_in))
        code = STOPPED
    raise typer.Exit(code)


def _stopped(handed_in: "Sequence[str]") -> str:
    """What becomes of a production where a person stops the command."""
    if not handed_in:
        return (
            "stopped before this manifest was handed in: the command has submitted nothing, and what was handed in before goes on as "
            "it did"
        )
    return (
        "stopped; nothing is lost, the same command goes on. What is pending is submitted by whatever runs in this home next; "
        f"`sora-pipeline pause --production {handed_in[0]}` keeps it waiting"
    )


def _run(
    manifest: str,
    name: str,
    output: str,
    budget: str,
    timeout: float,
    handed_in: list[str],
    *,
    as_json: bool,
) -> int:
    """The whole job; ``handed_in`` gets the production's name before anything can be submitted for it."""
    from sora_pipeline.garbage import importing
    from sora_pipeline.headless.run_processes import RunProcesses, log_of_first_runs

    settings, home = open_home()
    limit = budget_given(budget, hint="--budget") if budget else None
    lifted = bool(budget) and limit is None
    # First of all: it loads the code location while we read the manifest.
    with ExitStack() as stack, closing(RunProcesses(log_of_first_runs(home))) as processes:
        with importing():
            from sora_pipeline.agreement import settings_shown
            from sora_pipeline.headless.commands import at_work
            from sora_pipeline.headless.home import open_instance
            from sora_pipeline.production.naming import ProductionRequest
            from sora_pipeline.provider.catalogue import load_catalogue
            from sora_pipeline.uris import Uri, absolute_uri

            ledger = ledger_of(settings, home)
            instance = stack.enter_context(open_instance(home))
            if require_same_settings(ledger, settings, home, instance):
                processes.close()  # the daemon does everything
            else:
                processes.go_ahead()
                stack.enter_context(at_work(home, settings_shown(settings, ledger.ledger_id)))
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
        handed_in.append(plan.production_id)
        requested = ledger.productions.request(plan, request.manifest, wanted=wanted)
        if lifted:
            ledger.productions.set_budget(requested.production_id, None)
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
        unsent_but_unusable,
        with_amendments,
    )
    from sora_pipeline.production.progress import open_elsewhere, why_left_open

    intake = open_production(ledger, settings, BUILT_IN, request)
    decided, plan = intake.decided, intake.decided.plan
    read = read_snapshot(intake.file, settings, catalogue, explained, EarlierReadings(ledger, decided))
    snapshot = with_amendments(ledger, decided, read)
    require_affordable(ledger, decided, snapshot)
    costs = estimate(snapshot.clips, ledger, plan.production_id, catalogue, settings.max_attempts)
    if not quiet:
        row_problems(snapshot)
    if not snapshot.clips:
        problem(f"{request.manifest} has no valid row; nothing was submitted")
        raise typer.Exit(BAD_INPUT)
    left = leaving_note(leaving(ledger, snapshot, decided), plan.production_id)
    held = unusable_note(unsent_but_unusable(snapshot, decided, ledger, settings.max_attempts))
    for sentence in (*reading_notes(snapshot, decided), *left, *held):
        note(sentence)
    if decided.amends and (strangers := amendable(snapshot, decided, ledger)[1]):
        problem(
            f"not rows of {plan.production_id}, and left out: {listed(strangers)}. A file of mended rows amends those "
            "that are there; put new ones into the campaign's manifest"
        )
    note(f"production {plan.production_id}: {counted(len(snapshot.clips), 'clip')} into {plan.output_uri}")
    beside = going_on(ledger, settings, catalogue, decided.plan.production_id)
    for sentence in beside_note(beside, simulated=plan.account.simulated):
        note(sentence)
    for sentence in Outlook.of(ledger, settings, catalogue, costs, snapshot, decided).sentences:
        note(sentence)
    tell_of_pretended(simulated=plan.account.simulated)
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
        with ProgressDisplay("Dagster starts and reads the manifest") as display:
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
    """Publish what became of everything, print it, and say it in the exit code."""
    from sora_pipeline.production.publishing import is_published, publish
    from sora_pipeline.production.surveys import surveying

    if ended.problem is not None:
        problem(ended.problem)
        return BAD_INPUT
    production = ledger.productions.get(requested.production_id)
    if production.snapshot_path is None:
        problem(ended.stopped or "nothing was read")
        return STOPPED
    if not is_published(production):
        owner = f"sora-pipeline run {uuid.uuid4().hex[:8]}"
        # That one has finished is for a run to tell Dagster: the next daemon does.
        publish(ledger, production.production_id, settings, owner, finishes=False)
    _publish_others(ledger, settings, production)
    spending = ledger.money.of_production(production.production_id)
    with surveying(ledger, production, settings) as survey:
        if as_json:
            rows = outcome_rows(survey)
            code = _code(Counter(row["status"] for row in rows), ended)
            print_json(_as_json(code, production, ended, spending, rows))
            return code
        summary = Summary(survey)
    code = _code(summary.counts, ended)
    _tell(code, production, ended, spending, summary)
    return code


def _code(counts: "Counter[str]", ended: "Ended") -> int:
    if ended.stopped is not None:
        return STOPPED
    return OK if counts["delivered"] == counts.total() else SOME_FAILED


def _as_json(
    code: int, production: "Production", ended: "Ended", spending: "Spending", rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """For scripts."""
    from sora_pipeline.production.publishing import GALLERY, PARQUET

    return {
        "exit_code": code,
        "stopped": ended.stopped,
        "production": production.production_id,
        "account": production.account,
        "simulated": production.simulated,
        "manifest": production.manifest_uri,
        "output": production.output_uri,
        "metadata": f"{production.output_uri}/{PARQUET}",
        "gallery": f"{production.output_uri}/{GALLERY}",
        "counts": dict(Counter(row["status"] for row in rows)),
        "spent_usd": float(spending.spent_usd),
        "committed_usd": float(spending.committed_usd),
        "budget_usd": dollars(production.budget_usd),
        "clips": rows,
    }


def _tell(
    code: int, production: "Production", ended: "Ended", spending: "Spending", summary: Summary
) -> None:
    """For people."""
    from sora_pipeline.production.publishing import GALLERY, PARQUET, newest_failed

    counts = summary.counts
    console.print(summary.table(console.room))
    for sentence in summary.reasons(ended.progress.stopped if ended.progress else None):
        note(sentence)
    clips = counts.total() - counts["invalid"]
    billed = usd(spending.spent_usd, simulated=production.simulated)
    others = spending.spent_usd - summary.spent_usd
    of_others = f", {others:.2f} of it for clips that are not among these" if others > 0 else ""
    console.print(
        f"\n{counts['delivered']} of {counted(clips, 'clip')} delivered, {billed} billed in all{of_others}"
    )
    console.print(f"manifest {production.output_uri}/{PARQUET}\ngallery  {production.output_uri}/{GALLERY}")
    if ended.stopped is not None:
        problem(ended.stopped)
    if code != OK:
        counts[CANCELLED] = summary.cancelled
        places = [bad.place for bad in summary.invalid]
        for sentence in _what_next(counts, production, newest_failed(production), places):
            note(sentence)


def _publish_others(ledger: "Ledger", settings: "Settings", requested: "Production") -> None:
    """Show what was delivered of other productions meanwhile: the daemon that would do it has ended with us."""
    from sora_pipeline.production.publishing import publish

    # By what the ledger knows: an output that a person has moved away is nobody's to make again.
    for other in ledger.productions.unpublished(BUILT_IN):
        if other.production_id == requested.production_id:
            continue
        try:
            publish(
                ledger,
                other.production_id,
                settings,
                f"sora-pipeline run {uuid.uuid4().hex[:8]}",
                finishes=False,
            )
        except SoraPipelineError as error:
            note(f"{other.production_id}: {explained(error)}")


def _what_next(
    counts: "Counter[str]", production: "Production", failed: str, invalid: "Sequence[str]"
) -> list[str]:
    """What can be done about clips that have no video, and about rows (by their places) that cannot be made."""
    sentences = []
    if counts[CANCELLED]:
        sentence = f"{counted(counts[CANCELLED], 'clip was', 'clips were')} cancelled, and left so"
        sentences.append(
            explained(Reason(sentence, "cancelled_clips", {"production": production.production_id}))
        )
    if counts["failed"] > counts[CANCELLED]:
        sentences.append(
            f"failed rows are in {failed}: mend and run that file, or `sora-pipeline retry --production "
            f"{production.production_id}` to try the same once more"
        )
    if invalid:
        rows = counted(len(invalid), "row cannot be used", "rows cannot be used")
        sentences.append(
            f"{rows} ({listed(invalid)}): mend that in {production.manifest_uri} and run it again, or mend and run {failed}, which "
            "lists what is wrong; `retry` has nothing to retry there"
        )
    if counts["ambiguous"]:
        sentences.append(
            f"{counted(counts['ambiguous'], 'clip')} may have been billed although no answer came: look at the provider's dashboard, then "
            f"`sora-pipeline retry --production {production.production_id} --clip ID` has one submitted again"
        )
    return sentences
