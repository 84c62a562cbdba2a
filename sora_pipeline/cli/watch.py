"""``sora-pipeline watch``: how a production gets on, for as long as one looks."""

import time
from typing import TYPE_CHECKING

import typer

from sora_pipeline.advice import explained
from sora_pipeline.cli.display import ProgressDisplay
from sora_pipeline.cli.opening import open_ledger
from sora_pipeline.cli.output import (
    AS_JSON,
    BAD_INPUT,
    OK,
    STOPPED,
    console,
    print_json,
    problem,
    production_facts,
)
from sora_pipeline.cli.productions import ALSO_NAMED, completed, one_of

if TYPE_CHECKING:
    from sora_pipeline.ledger import Production

LOOK_S = 1.0
GRACE_S = 4.0
"""A command that begins has no daemon so far, and no run."""
READING_S = 60.0
"""How long a manifest that was asked for is awaited before what was there before is shown."""


def watch(
    name: str = typer.Argument(
        "", metavar="[NAME]", help="The production. Default: the one read last.", autocompletion=completed
    ),
    production: str = ALSO_NAMED,
    as_json: bool = AS_JSON,
) -> None:
    """Watch a production until nothing changes any more. Changes nothing itself; Ctrl-C only stops looking.

    Exit code: 0 it is done, 3 it waits for something, which is said.
    """
    from sora_pipeline.headless.home import open_instance
    from sora_pipeline.headless.obstacles import why_nothing_happens
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.provider.catalogue import load_catalogue

    ledger, settings, home = open_ledger()
    chosen = one_of(ledger, name, production)
    if chosen is None:
        problem("nothing was produced so far; begin with `sora-pipeline run MANIFEST`")
        raise typer.Exit(BAD_INPUT)
    identity, catalogue = chosen.production_id, load_catalogue(settings.catalogue)
    began = time.monotonic()
    nothing_since: float | None = None
    try:
        with open_instance(home) as instance, ProgressDisplay("the manifest is read") as display:
            while True:
                chosen = ledger.productions.get(identity)
                look = progress_of(ledger, chosen, settings, catalogue)
                if _is_to_be_read(chosen) and time.monotonic() - began < READING_S:
                    display.show(None)
                    time.sleep(LOOK_S)
                    continue
                display.show(look)
                obstacle = (
                    look.stopped if look.settled else why_nothing_happens(instance, home, ledger, chosen)
                )
                nothing_since = None if obstacle is None else nothing_since or time.monotonic()
                patient = nothing_since is not None and time.monotonic() - nothing_since < GRACE_S
                if look.settled or (obstacle is not None and not patient):
                    break
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        raise typer.Exit(STOPPED) from None
    if as_json:
        waits_for = None if obstacle is None else explained(obstacle)
        print_json({**production_facts(look), "settled": look.settled, "waits_for": waits_for})
    elif obstacle is not None:
        problem(explained(obstacle))
    else:
        each_of = ", ".join(f"{count:,} {status}" for status, count in sorted(look.counts.items()))
        console.print(f"{identity}: nothing is left to do ({each_of}); it is in {look.production.output_uri}")
    raise typer.Exit(OK if obstacle is None else STOPPED)


def _is_to_be_read(production: "Production") -> bool:
    """Whether a manifest was asked for that somebody is about to read: what is known of the clips is of before that."""
    asked, read = production.requested_at, production.read_at
    return asked is not None and (read is None or read < asked) and production.error is None
