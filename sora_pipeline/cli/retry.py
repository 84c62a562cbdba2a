"""``sora-pipeline retry``: failed clips once more."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import typer

from sora_pipeline.amounts import counted, listed
from sora_pipeline.cli.confirm import YES, require_consent
from sora_pipeline.cli.money import Price, tell_of_pretended
from sora_pipeline.cli.opening import open_ledger, require_same_settings
from sora_pipeline.cli.output import (
    AS_JSON,
    BAD_INPUT,
    BUILT_IN,
    OK,
    note,
    print_json,
    problem,
    problems,
)
from sora_pipeline.cli.picks import PICKS, PickedAgain, retry_picked
from sora_pipeline.cli.productions import PRODUCTION, selected
from sora_pipeline.cli.retry_report import RetryReport
from sora_pipeline.cli.unknown_clips import why_unknown

if TYPE_CHECKING:
    from sora_pipeline.ledger import Attempt, Ledger
    from sora_pipeline.production.decisions import Said
    from sora_pipeline.production.retrying import Retried
    from sora_pipeline.settings import Settings


def retry(
    clip: list[str] = typer.Option(
        [], "--clip", metavar="ID", help="A clip to try again; may be given more than once."
    ),
    kind: str | None = typer.Option(
        None,
        "--kind",
        metavar="KIND",
        help="Only clips that failed with this error kind, or the one whose name holds these letters: policy, image, "
        "timed_out, cancelled …",
    ),
    give_up: bool = typer.Option(
        False,
        "--give-up",
        help="With --clip: rather pay for another than wait for a prediction that the provider still renders, or cannot deliver.",
    ),
    production: list[str] = PRODUCTION,
    picks: str | None = PICKS,
    dry_run: bool = typer.Option(
        False, "--dry-run", help="Only say which clips it would be, and what they cost. Changes nothing."
    ),
    yes: bool = YES,
    as_json: bool = AS_JSON,
) -> None:
    """Try failed clips again: those named, or all. The daemon (`sora-pipeline run` or `dev`) then does the work.

    What it costs is said first; on a terminal it asks before anything is submitted again.
    """
    from sora_pipeline.production.retrying import Retried, retry_clips

    said_before = len(problems)
    _require_sense(clip, kind, picks, give_up=give_up)
    ledger, settings, home = open_ledger()
    productions = selected(ledger, production)
    # Those of other pipelines are their own code location's: its settings are in its code.
    if any(chosen.pipeline == BUILT_IN for chosen in productions):
        require_same_settings(ledger, settings, home)
    made = PickedAgain()
    if picks:
        made = retry_picked(ledger, settings, productions, picks, yes=yes, dry_run=dry_run)
    retried, marked = Retried(), made.without_video
    if clip or marked or not picks:
        names = [chosen.production_id for chosen in productions]
        retrying = partial(
            retry_clips, ledger, settings, names, clip, marked=marked, kind=kind or "", give_up=give_up
        )
        retried = _retried(ledger, settings, retrying, yes=yes, dry_run=dry_run)
    price = _price(ledger, settings, retried.anew)
    report = RetryReport(ledger, settings, productions, retried, price, made, dry_run=dry_run)
    for sentence in why_unknown(ledger, productions, retried.unknown):
        problem(sentence)
    code = BAD_INPUT if retried.unknown or not made.all_known else OK
    if as_json:
        ended = {"exit_code": code, "error": "\n".join(problems[said_before:]) or None}
        print_json({**ended, **report.as_json()})
    else:
        report.say(named=bool(clip or marked))
        tell_of_pretended(simulated=bool(made.keys or retried.anew) and price.simulated)
    raise typer.Exit(code)


def _require_sense(clip: list[str], kind: str | None, picks: str | None, *, give_up: bool) -> None:
    if give_up and not clip:
        raise typer.BadParameter("say which clips are to be given up, with --clip", param_hint="--give-up")
    for name, given in (("--kind", kind), ("--picks", picks)):
        if given is not None and not given.strip():
            raise typer.BadParameter("is empty; say something, or leave it out", param_hint=name)


def _retried(
    ledger: "Ledger", settings: "Settings", retrying: "partial[Retried]", *, yes: bool, dry_run: bool
) -> "Retried":
    """Find out what is to be tried again, and have it done once its price is agreed to."""
    # The provider is asked once, and before anybody agrees to anything: what it says decides what has to be paid again.
    said: dict[int, Said] = {}

    def ask(attempts: "Sequence[Attempt]") -> "Mapping[int, Said]":
        said.update(_ask(settings, [each for each in attempts if each.attempt_id not in said]))
        return said

    found = retrying(dry_run=True, ask=ask)
    if dry_run:
        return found
    if found.anew:
        clips = counted(len(found.anew), "clip")
        price = _price(ledger, settings, found.anew)
        require_consent(
            f"{clips} would be {found.submitted}, for {price}: {listed(found.anew)}", yes=yes, unasked=True
        )
    done = retrying(ask=ask, agreed=found.anew)
    if done.since:
        clips = counted(len(done.since), "clip has", "clips have")
        note(f"{clips} failed since this was asked for, and stay as they are: {listed(done.since)}")
    return done


def _ask(settings: "Settings", attempts: "Sequence[Attempt]") -> "Mapping[int, Said]":
    """Ask the provider once more for predictions that no run waits for any more."""
    import asyncio

    from sora_pipeline.names import PipelineNames
    from sora_pipeline.production.stuck import ask_again
    from sora_pipeline.runtime import PipelineRuntime

    async def asked() -> "Mapping[int, Said]":
        async with PipelineRuntime(PipelineNames(), settings).open("sora-pipeline retry", note) as context:
            return await ask_again(context, attempts)

    return asyncio.run(asked()) if attempts else {}


def _price(ledger: "Ledger", settings: "Settings", keys: list[str]) -> Price:
    """What clips cost together."""
    return Price.of([standing.clip for standing in ledger.clips.standings(keys).values()], settings)
