"""The end of submitting, before whatever submits on this home is stopped: nobody else would hear the answers."""

import time
import uuid

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.settings import Settings

LAST_ANSWERS_S = 15.0
"""How long a stop waits for the answers to submits under way."""
STOP_S = 45.0
"""No submit begins for so long once a stop has begun, or until it is over."""
SETTLE_S = 0.3
"""How long a submit takes that has passed the pause to be known to the ledger."""


def let_submits_end(ledger: Ledger, settings: Settings, pipeline: str) -> str | None:
    """Hear the answers to requests that are on their way, before the runs that wait for them are ended, and let no other begin.

    Their clips would be ambiguous otherwise. The daemon's runs live for some seconds yet, in which renders end and slots become
    free. A second Ctrl-C does not wait.

    Returns:
        The owner of the pause that keeps submits from beginning; None where nothing is left to submit.
    """
    account = settings.account_name
    at_work = ledger.attempts.live(AttemptState.RESERVED, AttemptState.SUBMITTING)
    if not at_work and not ledger.clips.productions_with_pending_clips(pipeline, account):
        return None
    stop = f"stop-{uuid.uuid4().hex}"  # of this command alone: another one may stop at the same moment
    ledger.pauses.pause(account, STOP_S, stop)
    give_up = time.monotonic() + LAST_ANSWERS_S
    time.sleep(SETTLE_S)
    while ledger.attempts.live(AttemptState.SUBMITTING) and time.monotonic() < give_up:
        time.sleep(0.1)
    return stop
