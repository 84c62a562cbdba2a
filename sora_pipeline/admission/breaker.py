"""When submits stop, and what people are told about it: the breaker as runs and sensors use it."""

from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.settings import Settings

_CODES = {
    ErrorKind.BAD_TOKEN: "stopped_key",
    ErrorKind.NO_BALANCE: "stopped_balance",
    ErrorKind.MODEL_GONE: "stopped_model",
    ErrorKind.CONTENT_POLICY: "stopped_content",
}


def why_stopped(breaker: Breaker) -> Reason:
    """Why no submit goes out, and when it is tried anyway."""
    return Reason(
        f"submits to the account {breaker.account} are stopped ({breaker.kind}): {breaker.message}",
        _CODES.get(ErrorKind(breaker.kind), "stopped"),
        {"probe_at": f"{breaker.probe_at:%H:%M}"},
    )


def stop_on_policy_failures(ledger: Ledger, settings: Settings) -> None:
    """Open the breaker where the last clips were all refused for their content: accounts get banned for that."""
    most, account = settings.max_policy_failures, settings.account_name
    if not most:
        return
    ends = ledger.attempts.last_ends(account, most, since=ledger.breakers.closed_at(account))
    if len(ends) == most and all(kind == ErrorKind.CONTENT_POLICY for kind in ends):
        message = f"the last {most} clips were all refused for their content"
        ledger.breakers.open(account, ErrorKind.CONTENT_POLICY, message)
