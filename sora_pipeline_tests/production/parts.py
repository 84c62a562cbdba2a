"""Parts of an attempt that a test knows to be there, and the accounts that tests submit with."""

from sora_pipeline.ledger import Account, Attempt
from sora_pipeline.ledger.types import Failure
from sora_pipeline.video import StoredVideo

SANDBOX = Account("sandbox", "sandbox", simulated=True)
GPTPROTO = Account("gptproto", "gptproto", simulated=False)


def failure_of(attempt: Attempt) -> Failure:
    assert attempt.failure is not None, attempt
    return attempt.failure


def video_of(attempt: Attempt) -> StoredVideo:
    assert attempt.result.video is not None, attempt
    return attempt.result.video
