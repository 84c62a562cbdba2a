"""``sora-pipeline retry`` and ``resume``: go on after a failure, or after everything was stopped."""

import typer

from sora_pipeline.advice import explained
from sora_pipeline.cli.opening import open_ledger, require_same_settings
from sora_pipeline.cli.output import BAD_INPUT, BUILT_IN, OK, console, note, problem
from sora_pipeline.cli.productions import PRODUCTION, selected
from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import Reason


def retry(
    clip: list[str] = typer.Option(
        [], "--clip", metavar="ID", help="A clip to try again; may be given often."
    ),
    production: list[str] = PRODUCTION,
) -> None:
    """Try failed clips again: those named, or all. The daemon (`sora-pipeline run` or `dev`) then does the work."""
    from sora_pipeline.production.progress import open_elsewhere, why_left_open
    from sora_pipeline.production.retrying import retry_clips

    ledger, settings, home = open_ledger()
    productions = selected(ledger, production)
    # Those of other pipelines are their own code location's: its settings are in its code.
    if any(chosen.pipeline == BUILT_IN for chosen in productions):
        require_same_settings(ledger, settings, home)
    retried = retry_clips(ledger, settings, [chosen.production_id for chosen in productions], clip)
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
    if retried.fetched:
        console.print(f"fetched again, at no cost: {', '.join(retried.fetched)}")
    if retried.anew:
        console.print(f"submitted again, each at its price: {', '.join(retried.anew)}")
    if not retried.fetched and not retried.anew:
        console.print("nothing to retry")
    else:
        console.print(
            "a running daemon takes them up by itself; without one, `sora-pipeline run MANIFEST` does"
        )
    raise typer.Exit(BAD_INPUT if retried.unknown else OK)


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
