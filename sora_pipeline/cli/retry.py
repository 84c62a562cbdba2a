"""``sora-pipeline retry`` and ``resume``: go on after a failure, or after everything was stopped."""

from functools import partial
from typing import TYPE_CHECKING

import typer

from sora_pipeline.advice import explained
from sora_pipeline.cli.opening import open_ledger, require_same_settings
from sora_pipeline.cli.output import BAD_INPUT, BUILT_IN, OK, console, note, problem
from sora_pipeline.cli.productions import PRODUCTION, selected
from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sora_pipeline.ledger import Attempt, Ledger
    from sora_pipeline.production.decisions import Said
    from sora_pipeline.settings import Settings


def retry(
    clip: list[str] = typer.Option(
        [], "--clip", metavar="ID", help="A clip to try again; may be given often."
    ),
    give_up: bool = typer.Option(
        False,
        "--give-up",
        help="With --clip: rather pay for another than wait for a prediction that the provider still renders, or cannot deliver.",
    ),
    production: list[str] = PRODUCTION,
) -> None:
    """Try failed clips again: those named, or all. The daemon (`sora-pipeline run` or `dev`) then does the work."""
    from sora_pipeline.production.progress import open_elsewhere, why_left_open
    from sora_pipeline.production.retrying import retry_clips

    if give_up and not clip:
        raise typer.BadParameter("say which clips are to be given up, with --clip", param_hint="--give-up")
    ledger, settings, home = open_ledger()
    productions = selected(ledger, production)
    # Those of other pipelines are their own code location's: its settings are in its code.
    if any(chosen.pipeline == BUILT_IN for chosen in productions):
        require_same_settings(ledger, settings, home)
    retried = retry_clips(
        ledger,
        settings,
        [chosen.production_id for chosen in productions],
        clip,
        ask=partial(_ask, settings),
        give_up=give_up,
    )
    for name in retried.unknown:
        problem(
            f"--clip {name}: no manifest that was read names this clip; `sora-pipeline status` lists them"
        )
    for key in retried.fine if clip else []:
        note(f"{key} needs no retry: it is delivered, pending or under way")
    for key in retried.held:
        sentence = f"{key} is held: its submit lost its answer and may have been billed"
        note(explained(Reason(sentence, "ambiguous", _clip(key))))
    for key, account in retried.elsewhere.items():
        sentence = (
            f"{key} is held: it was submitted to the account {account}, which its production is no longer made by, and nobody "
            "has asked for it until its deadline"
        )
        note(explained(Reason(sentence, "held_elsewhere", _clip(key))))
    for chosen in productions:
        for elsewhere, count in open_elsewhere(ledger, settings, chosen.production_id).items():
            note(f"{chosen.production_id}: {explained(why_left_open(elsewhere, count))}")
    for key, attempt in retried.rendering.items():
        since = (
            f" since {attempt.submission.accepted_at:%d %b %H:%M} UTC"
            if attempt.submission.accepted_at
            else ""
        )
        sentence = f"{key}: the provider says that it still renders it{since}; it is waited for once more, at no cost"
        facts = {**_clip(key), "usd": f"{attempt.cost_usd:.2f}"}
        note(explained(Reason(sentence, "still_rendering", facts)))
    for key, attempt in retried.given_up.items():
        note(
            f"{key}: the prediction {attempt.submission.prediction_id or '(its id is not known)'} is given up; its "
            f"{attempt.cost_usd:.2f} USD stay spent"
        )
    if retried.fetched:
        console.print(f"fetched again, at no cost: {', '.join(retried.fetched)}")
    if retried.anew:
        console.print(
            f"submitted again, for {_price(ledger, settings, retried.anew)}: {', '.join(retried.anew)}"
        )
    if not retried.fetched and not retried.anew:
        console.print("nothing to retry")
    else:
        console.print(
            "a running daemon takes them up by itself; without one, `sora-pipeline run MANIFEST` does"
        )
    raise typer.Exit(BAD_INPUT if retried.unknown else OK)


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


def _price(ledger: "Ledger", settings: "Settings", keys: list[str]) -> str:
    """What clips cost together."""
    from sora_pipeline.admission.costs import known_cost_usd
    from sora_pipeline.provider.catalogue import load_catalogue

    clips = (standing.clip for standing in ledger.clips.standings(keys).values())
    return f"{known_cost_usd(clips, load_catalogue(settings.catalogue)):.2f} USD"


def _clip(key: str) -> dict[str, str]:
    """What the advice for one clip names."""
    production_id, clip_id = split_clip_key(key)
    return {"production": production_id, "clip": clip_id}


def resume(production: list[str] = PRODUCTION) -> None:
    """Let submits go on after a bad key, an empty balance or a retired model stopped them."""
    ledger, settings, home = open_ledger()
    productions = selected(ledger, production)
    if not production or any(chosen.pipeline == BUILT_IN for chosen in productions):
        require_same_settings(ledger, settings, home)
    accounts = {chosen.account for chosen in productions if chosen.account}
    if not production:
        accounts.add(settings.account_name)
    closed = [account for account in sorted(accounts) if ledger.breakers.close(account)]
    console.print(f"submits go on: {', '.join(closed)}" if closed else "submits were not stopped")
