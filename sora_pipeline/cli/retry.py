"""``sora-pipeline retry`` and ``resume``: go on after a failure, or after everything was stopped."""

import typer

from sora_pipeline.cli.output import BAD_INPUT, OK, console, note, problem


def retry(
    clip: list[str] = typer.Option(
        [], "--clip", metavar="ID", help="A clip to try again; may be given often."
    ),
) -> None:
    """Try failed clips again: those named, or all. The daemon (`sora-pipeline run` or `dev`) then does the work."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.retrying import retry_clips
    from sora_pipeline.settings import Settings, ledger_url

    settings = Settings.from_env()
    ledger = Ledger(ledger_url(settings, prepare_home()))
    retried = retry_clips(ledger, settings, clip)
    for clip_id in retried.unknown:
        problem(
            f"--clip {clip_id}: no manifest that was read names this clip; `sora-pipeline status` lists them"
        )
    for clip_id in retried.fine if clip else []:
        note(f"{clip_id} needs no retry: it is delivered, pending or under way")
    for clip_id in retried.held:
        note(
            f"{clip_id} is held: its submit lost its answer and may have been billed. Look at the provider's "
            f"dashboard; `sora-pipeline retry --clip {clip_id}` pays for another"
        )
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


def resume() -> None:
    """Let submits go on after a bad key, an empty balance or a retired model stopped them."""
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.settings import Settings, ledger_url

    settings = Settings.from_env()
    closed = Ledger(ledger_url(settings, prepare_home())).breakers.close(settings.provider)
    console.print("submits go on" if closed else "submits were not stopped")
