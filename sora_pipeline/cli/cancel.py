"""``sora-pipeline cancel``: nothing further is submitted for a production, or for single clips."""

from typing import TYPE_CHECKING

import typer

from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted, usd
from sora_pipeline.cli.opening import open_ledger
from sora_pipeline.cli.output import AS_JSON, BAD_INPUT, OK, console, note, print_json, problem
from sora_pipeline.cli.productions import NAMED, selected
from sora_pipeline.cli.unknown_clips import why_unknown
from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import Reason

if TYPE_CHECKING:
    from sora_pipeline.ledger.cancellations import Cancelled


def cancel(
    production: list[str] = NAMED,
    clip: list[str] = typer.Option(
        [],
        "--clip",
        metavar="ID",
        help="Only this clip; may be given more than once. With --production where several productions have a clip of this id.",
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Submit nothing further for a production or for single clips. What renders is paid for, and still fetched.

    A clip that is named and has failed is kept out of `retry`, unless that names it or asks for `--kind cancelled`.
    """
    from sora_pipeline.production.retrying import clips_named

    if not production and not clip:
        raise typer.BadParameter("say what is to be cancelled", param_hint="--production / --clip")
    ledger, settings, _ = open_ledger()
    productions = selected(ledger, production)
    names = [chosen.production_id for chosen in productions]
    keys, unknown = clips_named(ledger, names, clip)
    wanted: dict[str, list[str] | None] = {}
    if clip:
        for key in keys:
            wanted.setdefault(split_clip_key(key)[0], []).append(key)  # type: ignore[union-attr]  # a list so far
    else:
        wanted = dict.fromkeys(names)
    done = {
        name: ledger.cancellations.cancel(name, settings.max_attempts, of_production)
        for name, of_production in wanted.items()
    }
    for chosen in productions if production else []:
        if chosen.requested_at is not None and (
            chosen.read_at is None or chosen.read_at < chosen.requested_at
        ):
            note(
                f"{chosen.production_id} has a manifest that is still to be read, and its clips come after this; "
                f"`sora-pipeline pause --production {chosen.production_id}` keeps them back"
            )
    reasons = why_unknown(ledger, productions, unknown)
    for reason in reasons:
        problem(reason)
    code = BAD_INPUT if unknown else OK
    if as_json:
        print_json(
            {
                "exit_code": code,
                "error": "\n".join(reasons) or None,
                "cancelled": {name: _as_json(cancelled) for name, cancelled in done.items()},
                "unknown": unknown,
            }
        )
    else:
        for name, cancelled in done.items():
            simulated = ledger.productions.get(name).simulated
            _say(name, cancelled, wanted[name], simulated=simulated)
    raise typer.Exit(code)


def _as_json(cancelled: "Cancelled") -> dict[str, float]:
    return {
        "stopped": cancelled.stopped,
        "failed": cancelled.failed,
        "under_way": cancelled.under_way,
        "under_way_usd": float(cancelled.under_way_usd),
    }


def _say(name: str, cancelled: "Cancelled", keys: list[str] | None, *, simulated: bool) -> None:
    if not cancelled.stopped and not cancelled.under_way and not cancelled.failed:
        of_these = "" if keys is None else f" of {', '.join(split_clip_key(key)[1] for key in keys)}"
        console.print(f"{name}: nothing is left to be cancelled{of_these}")
        return
    if cancelled.stopped:
        sentence = f"{name}: {counted(cancelled.stopped, 'clip is', 'clips are')} cancelled; nothing more is submitted"
        console.print(explained(Reason(sentence, "cancelled_clips", {"production": name})))
    if cancelled.failed:
        had = counted(cancelled.failed, "clip that had failed is", "clips that had failed are")
        sentence = f"{name}: {had} cancelled; `sora-pipeline retry` leaves that alone"
        console.print(explained(Reason(sentence, "cancelled_clips", {"production": name})))
    if cancelled.under_way:
        console.print(
            f"{name}: {counted(cancelled.under_way, 'clip is', 'clips are')} at the provider already and cannot be stopped: "
            f"{usd(cancelled.under_way_usd, simulated=simulated)} is spent, the videos are fetched, and nothing of it is submitted again by itself"
        )
