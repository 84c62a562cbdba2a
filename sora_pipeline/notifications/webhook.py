"""Tells people, through a webhook, that a production has settled or that a run failed. What failed is never sent twice.

The webhook's address is a secret: whoever has it can write to the channel. Only its host is ever shown.
"""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from urllib.parse import unquote, urlsplit

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.notifications.messages import (
    CUT,
    MOST_CLIPS,
    TROUBLES,
    Message,
    escaped_characters,
    finished_message,
)
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.progress import Progress, progress_of
from sora_pipeline.production.surveys import Survey, surveying
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.provider.retry_after import parse_retry_after
from sora_pipeline.settings import Settings, SettingsError
from sora_pipeline.status import ClipStatus
from sora_pipeline.time_limit import within

NEWS = timedelta(days=1)
"""What changed longer ago is told to nobody: a webhook that is set for the first time does not hear the whole past."""
TIMEOUT_S = 5.0
PATIENCE_S = 15.0
"""How long it may take in all: one that sends a byte now and then never runs into a time-out, and would hold a sensor for ever."""
SECRET_CHARS = 8
"""What is shorter could be any word, and guards nothing."""


class NotificationError(SoraPipelineError):
    """Raised where the webhook did not take a message; the text is for people and holds no secret.

    Attributes:
        retry_after_s: Seconds it asked to be left alone; None: it did not.
    """

    def __init__(self, message: str, code: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message, code)
        self.retry_after_s = retry_after_s


def notify_if_settled(
    ledger: Ledger,
    production: Production,
    settings: Settings,
    catalogue: Catalogue,
    video_manifest: Sequence[str],
) -> bool:
    """Tell people about a production if nothing changes in it any more and they were not told; whether they now were.

    Args:
        ledger: The ledger.
        production: The production.
        settings: Those of its pipeline.
        catalogue: Prices, for the budget's sake.
        video_manifest: Key of the asset that shows the production in Dagster.

    Raises:
        NotificationError: the webhook did not take it; it is still to be told.
        StoreError: the output, where the snapshot lies, cannot be read.
    """
    progress = progress_of(ledger, production, settings, catalogue)
    if not progress.settled or not (progress.published or progress.stopped):
        return False
    with surveying(ledger, production, settings) as survey:
        look = _Look(progress, survey)
    telling = ledger.notifications.claim(production, look.state)
    if telling is None:
        return False
    spending = ledger.money.of_production(production.production_id)
    try:
        message = finished_message(progress, look.counts, look.troubles, spending, settings, video_manifest)
        send(message, settings)
    except BaseException:
        ledger.notifications.give_back(telling)
        raise
    return True


class _Look:
    """What there is to tell of a production.

    Args:
        progress: How far it is.
        survey: How its clips stand; gone through once.

    Attributes:
        counts: Rows by status, invalid ones included.
        troubles: The first clips that failed or may have been billed for nothing.
        state: A hash of what makes a state another one: not amounts and times in a sentence, which change while nothing else does.
    """

    def __init__(self, progress: Progress, survey: Survey) -> None:
        self.counts: Counter[str] = Counter()
        self.troubles: list[ClipOutcome] = []
        stopped = progress.stopped.sentence.partition(":")[0] if progress.stopped else ""
        about = json.dumps([survey.snapshot.snapshot_sha256, re.sub(r"[\d.]+", "", stopped)])
        digest = hashlib.sha256(f"{about[:-1]}, [".encode())
        between = ""
        for stretch in survey.clips():
            for _, outcome in stretch:
                self.counts[str(outcome.status)] += 1
                if outcome.status in TROUBLES and len(self.troubles) < MOST_CLIPS:
                    self.troubles.append(outcome)
                clip = [outcome.clip_id, outcome.status, outcome.attempts, outcome.error_kind]
                digest.update(f"{between}{json.dumps(clip)}".encode())
                between = ", "
        digest.update(b"]]")
        self.state = digest.hexdigest()
        if invalid := sum(1 for _ in survey.invalid()):
            self.counts[ClipStatus.INVALID] = invalid


def send(message: Message, settings: Settings) -> None:
    """Post a message to the webhook.

    Raises:
        NotificationError: it was not taken, as far as can be told.
    """
    import httpx

    who = f"the webhook ({webhook_host(settings) or 'no host'})"
    address = settings.notify_url_text
    content = _without_secrets(json.dumps(message, ensure_ascii=False), settings)
    try:
        status, retry_after = within(PATIENCE_S, lambda: _post(address, content.encode(errors="replace")))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        # Without the error's own words and cause: they may hold the address.
        raise NotificationError(f"{who} could not be told: {_in_words(type(error))}", "webhook") from None
    if not 200 <= status < 300:
        raise NotificationError(
            f"{who} answered HTTP {status}", "webhook", retry_after_s=parse_retry_after(retry_after)
        )


def _post(address: str, content: bytes) -> tuple[int, str | None]:
    """Status and ``Retry-After`` of the answer, and nothing of its body: that may hold anything, the address included."""
    import httpx

    headers = {"Content-Type": "application/json; charset=utf-8"}
    with (
        _unlogged(address),
        httpx.Client(timeout=TIMEOUT_S) as client,
        client.stream("POST", address, content=content, headers=headers) as answer,
    ):
        return answer.status_code, answer.headers.get("Retry-After")


def webhook_host(settings: Settings) -> str | None:
    """The only part of the webhook's address that may be shown; None: it names no host."""
    try:
        return urlsplit(settings.notify_url_text).hostname
    except ValueError:
        return None


def _in_words(kind: type[Exception]) -> str:
    """``ReadTimeout`` as "read timeout"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()


def _without_secrets(text: str, settings: Settings) -> str:
    """A message is made of texts from everywhere; none of them may carry a key away."""
    known = list(settings.secret_texts())
    with suppress(ValueError, SettingsError):
        known.append(urlsplit(settings.ledger_url_text).password or "")
    known += [unquote(secret) for secret in known]
    for secret in known:
        for cut in range(
            len(secret), SECRET_CHARS - 1, -1
        ):  # what is too long to be shown may have been cut within it
            part = secret if cut == len(secret) else secret[:cut] + CUT
            for written in {part, escaped_characters(part)}:
                text = text.replace(json.dumps(written, ensure_ascii=False)[1:-1], CUT)
    return text


@contextmanager
def _unlogged(url: str) -> Iterator[None]:
    """The HTTP library logs every address it calls."""

    def harmless(record: logging.LogRecord) -> bool:
        return url not in record.getMessage()

    logger = logging.getLogger("httpx")
    logger.addFilter(harmless)
    try:
        yield
    finally:
        logger.removeFilter(harmless)
