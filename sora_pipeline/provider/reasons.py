"""What an answer says about why something failed: every code and every text, wherever vendors put them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sora_pipeline.provider.answers import Answer

# An echoed prompt must not be read as the provider's words; shorter ones are no sentence to stumble over.
_MIN_ECHO = 20
_LONGEST = 4000
"""Characters read at most, so that no answer can make patterns slow."""
_DEEPEST = 6

# Fields beside a job that may say why it failed, under whatever name: error, fail_reason, failureMessage, rejectReason, base_resp …
_SAYS_WHY = re.compile(
    r"err|fail|reason|reject|refus|moderat|safety|blocked|violat|flagged|^(detail|details|base_resp|message|msg|status_msg|task_status_msg|native_status)$",
    re.IGNORECASE,
)
_CODE_FIELDS = frozenset(
    {
        "code", "type", "status_code", "error_code", "error_type", "err_code", "failure_code", "failurecode", "failcode",
        "fail_code", "native_status", "status",
    }
)  # fmt: skip
_STATUS = frozenset({"status"})
_ABOUT_A_JOB = frozenset({"status", "type", "title"})
# What stands beside an error and says nothing about it; ``input`` is an echo of what was sent (fal).
_SILENT_FIELDS = frozenset(
    {"param", "id", "request_id", "requestid", "trace_id", "traceid", "log_id", "task_id", "url", "doc_url", "loc", "input", "ctx", "timestamp"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reasons:
    """What was said.

    Attributes:
        codes: Codes and types as text, numbers included.
        texts: Everything else that is words.
    """

    codes: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it in one, codes first."""
        return " \n".join((*self.codes, *self.texts))[:_LONGEST]


def read_reasons(answer: Answer, *, prompt: str = "") -> Reasons:
    """All codes and texts of an answer that go with an error, without an echo of the prompt.

    Pages of HTML are no words; other text that is no JSON is.
    """
    codes: dict[str, None] = {}
    texts: dict[str, None] = {}
    for key, value in _said(answer):
        words = value.replace(prompt, "") if len(prompt) >= _MIN_ECHO else value
        (codes if key.lower() in _CODE_FIELDS and len(value) <= 100 else texts)[words] = None
    if not answer.is_json and not answer.text.lstrip().startswith("<"):
        texts[answer.text] = None
    return Reasons(
        tuple(code for code in codes if code.strip()), tuple(text for text in texts if text.strip())
    )


def _said(answer: Answer) -> Iterator[tuple[str, str]]:
    holders = [answer.job] if answer.job is answer.body else [answer.job, answer.body]
    for holder in holders:
        # A job has a status, which says where it stands, and perhaps a type and a title, which say nothing of an error.
        about_a_job = _ABOUT_A_JOB if "status" in holder else _STATUS
        for field, value in holder.items():
            name = str(field).lower()
            if name in about_a_job:
                continue
            if name in _CODE_FIELDS or name == "title" or _SAYS_WHY.search(name):
                yield from _leaves(str(field), value)


def _leaves(key: str, value: object, depth: int = 0) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, bool):
        if value and _SAYS_WHY.search(key):  # "moderated": true
            yield key, key
    elif isinstance(value, int):
        if abs(value) < 10**9 and key.lower() in _CODE_FIELDS:
            yield key, str(value)
    elif depth >= _DEEPEST and value:
        yield key, "more is said than is read"
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(key, item, depth + 1)
    elif isinstance(value, Mapping):
        inner: Mapping[Any, Any] = value
        for name, item in inner.items():
            if str(name).lower() not in _SILENT_FIELDS:
                yield from _leaves(str(name), item, depth + 1)
