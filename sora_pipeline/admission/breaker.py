"""When submits stop, and what people are told about it: the breaker as runs and sensors use it."""

from collections import Counter

from sora_pipeline.amounts import counted
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Attempt, Ledger
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.settings import Settings

UNANSWERED_IN_A_ROW = 3
"""Submits that got no proof that the provider works, one after the other, until no further one is sent."""

_CODES = {
    ErrorKind.BAD_TOKEN: "stopped_key",
    ErrorKind.NO_BALANCE: "stopped_balance",
    ErrorKind.ACCOUNT_SUSPENDED: "stopped_suspended",
    ErrorKind.MODEL_GONE: "stopped_model",
    ErrorKind.CONTENT_POLICY: "stopped_content",
    ErrorKind.INVALID_REQUEST: "stopped_content",
    ErrorKind.IMAGE_MISMATCH: "stopped_content",
    ErrorKind.PROVIDER_INTERNAL: "stopped_content",
}
_MAY_BE_THE_CLIPS_OWN = frozenset(
    {
        ErrorKind.CONTENT_POLICY,
        ErrorKind.INVALID_REQUEST,
        ErrorKind.IMAGE_MISMATCH,
        ErrorKind.PROVIDER_INTERNAL,
    }
)
_UNANSWERED = frozenset(
    {ErrorKind.AMBIGUOUS_SUBMIT, ErrorKind.CONNECT, ErrorKind.RATE_LIMITED, ErrorKind.UNAVAILABLE}
)


def why_stopped(breaker: Breaker) -> Reason:
    """Why no submit goes out, and when it is tried anyway."""
    what = f"clips of the model {breaker.model} at" if breaker.model else "submits to"
    verb = "wait" if breaker.model else "are stopped"
    return Reason(
        f"{what} the account {breaker.account} {verb} ({breaker.kind}): {breaker.message}",
        _CODES.get(ErrorKind(breaker.kind), "stopped"),
        {"probe_at": f"{breaker.probe_at:%H:%M}"},
    )


def for_the_clips_fault(breaker: Breaker) -> bool:
    """Whether it was opened for what clips themselves were refused for."""
    return breaker.kind in _MAY_BE_THE_CLIPS_OWN


def in_the_way(ledger: Ledger, attempt: Attempt) -> Breaker | None:
    """The open breaker that an attempt must not pass, of its account or of its model; its own probe passes."""
    against = ledger.breakers.against(attempt.account.name, attempt.model)
    return next((breaker for breaker in against if breaker.probe_batch != attempt.batch_id), None)


def stop_on_failures(ledger: Ledger, settings: Settings) -> None:
    """Open the breaker where the last clips all failed for what may be their own fault: accounts get banned for that."""
    most, account = settings.max_policy_failures, settings.account_name
    if not most:
        return
    ends = ledger.attempts.last_ends(account, most, since=ledger.breakers.closed_at(account))
    kinds = Counter(end.kind for end in ends if end is not None and not end.retryable)
    if kinds.total() < most or not _MAY_BE_THE_CLIPS_OWN.issuperset(kinds):
        return
    if set(kinds) == {ErrorKind.CONTENT_POLICY}:
        ledger.breakers.open(
            account,
            ErrorKind.CONTENT_POLICY,
            f"the last {counted(most, 'clip was', 'clips were all')} refused for the content",
        )
        return
    shown = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    message = f"the last {counted(most, 'clip')} failed for what may be the clips' own fault ({shown})"
    kind = ErrorKind.CONTENT_POLICY if ErrorKind.CONTENT_POLICY in kinds else kinds.most_common(1)[0][0]
    ledger.breakers.open(account, kind, message)


def stop_on_silence(ledger: Ledger, settings: Settings) -> None:
    """Open the breaker where the last submits all went without an answer that proves anything.

    An outage then parks a handful of clips, and not all that are pending: each may have been billed.
    """
    account = settings.account_name
    submits = ledger.attempts.last_submits(
        account, UNANSWERED_IN_A_ROW, since=ledger.breakers.closed_at(account)
    )
    failures = [failure for failure in submits if failure is not None]
    if len(failures) < UNANSWERED_IN_A_ROW or not _UNANSWERED.issuperset(f.kind for f in failures):
        return
    message = f"the last {UNANSWERED_IN_A_ROW} submits were neither accepted nor refused for good; the last one: {failures[0].message}"
    ledger.breakers.open(account, failures[0].kind, message)
