"""When submits stop, and what people are told about it: the breaker as runs and sensors use it."""

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.settings import Settings

_ADVICE = {
    ErrorKind.BAD_TOKEN: "put a valid key into SORA_API_KEY",
    ErrorKind.NO_BALANCE: "top the account up",
    ErrorKind.MODEL_GONE: "choose another model (SORA_MODEL, or the manifest's model column)",
    ErrorKind.CONTENT_POLICY: "mend the prompts and images (failed.csv in the output lists them)",
}


def stop_sentence(breaker: Breaker) -> str:
    """Why no submit goes out, what a person can do about it, and when it is tried anyway."""
    advice = _ADVICE.get(ErrorKind(breaker.kind), "look at the provider's status")
    return (
        f"submits to the account {breaker.account} are stopped ({breaker.kind}): {breaker.message}. To go on, {advice}, then `sora-pipeline resume`; "
        f"a daemon tries one clip by itself after {breaker.probe_at:%H:%M} UTC"
    )


def stop_on_policy_failures(ledger: Ledger, settings: Settings) -> None:
    """Open the breaker where the last clips were all refused for their content: accounts get banned for that."""
    most, account = settings.max_policy_failures, settings.account_name
    if not most:
        return
    ends = ledger.attempts.last_ends(account, most, since=ledger.breakers.closed_at(account))
    if len(ends) == most and all(kind == ErrorKind.CONTENT_POLICY for kind in ends):
        message = f"the last {most} clips (SORA_MAX_POLICY_FAILURES) were all refused for their content"
        ledger.breakers.open(account, ErrorKind.CONTENT_POLICY, message)
