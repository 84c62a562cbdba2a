"""Every fault a prompt can ask for with ``[sandbox:<name>]``, or that ``fault_rates`` can deal out: one table.

The rest of the sandbox reads the effects from here and knows no fault by its name.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sora_pipeline.sandbox.refusals import Problem

NEVER_ENDING = 10**9


class Drop(StrEnum):
    """When a submit's connection is cut."""

    BEFORE = "before"  # nothing was accepted
    AFTER = "after"  # accepted and billed, the answer is lost


class Words(StrEnum):
    """How status words are status_word."""

    ODD = "odd"  # while it renders
    ODD_END = "odd-end"  # where it ends
    UPPERCASE = "uppercase"


class End(StrEnum):
    """How a job that was accepted ends without a video."""

    FAILED = "failed"
    NO_RESOURCE = "no_resource"
    CANCELLED = "cancelled"
    NEVER = "never"


class File(StrEnum):
    """What is wrong with the output file or its URL."""

    EMPTY = "empty"  # no URL is ever given
    EMPTY_ONCE = "empty-once"  # no URL in the first two polls
    LATE = "late"
    TRUNCATED = "truncated"
    DAMAGED = "damaged"
    ODD_METADATA = "odd-metadata"
    SHORT_BODY = "short-body"
    WRONG_TYPE = "wrong-type"
    WRONG_SIZE = "wrong-size"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table: a name, a sentence for people, and effects; an effect left out is none.

    Attributes:
        once: Only the first submit of a prompt is hit; the next one goes well.
        refuse: The submit is turned away with this problem; nothing is billed.
        drop: The submit's connection is cut.
        slow_answer: The submit's answer takes ``slow_answer_s``.
        end: How the job ends instead of with a video.
        error: The job's error text.
        code: The error's code, in formats that have one.
        render_factor: The render takes so many times as long.
        words: How the job's status words are status_word.
        model_returned: The model that answers name.
        file: What is wrong with the output.
        poll_errors: So many polls fail (500, 503, a cut connection in turn) before one is answered.
        foreign_ids: So many polls are answered with the id of another job.
    """

    name: str
    does: str
    once: bool = False
    refuse: Problem | None = None
    drop: Drop | None = None
    slow_answer: bool = False
    end: End | None = None
    error: str | None = None
    code: str = "internal_error"
    render_factor: float = 1
    words: Words | None = None
    model_returned: str | None = None
    file: File | None = None
    poll_errors: int = 0
    foreign_ids: int = 0

    @property
    def marker(self) -> str:
        """What a prompt says to get this fault."""
        return f"[sandbox:{self.name}]"

    @property
    def when(self) -> str:
        """The stage it shows at: submit, render or output."""
        if self.refuse or self.drop or self.slow_answer or self.model_returned:
            return "submit"
        return "output" if self.file else "render"


_BUSY = "No resource available for this task, please try again later"
_MODERATED = "The generated video was blocked by content policy moderation"

_TABLE = (
    # -- on submit, nothing is billed
    Fault(
        "policy",
        "The submit is refused for content policy: HTTP 400 whose body says 503.",
        refuse=Problem.POLICY,
    ),
    Fault(
        "content-403",
        "The submit is refused for its content with HTTP 403, as others refuse a key.",
        refuse=Problem.POLICY_FORBIDDEN,
    ),
    Fault("bad-token", "The submit is answered 403, Invalid Token.", refuse=Problem.BAD_TOKEN),
    Fault("no-balance", "The submit is answered 403, Insufficient balance.", refuse=Problem.NO_BALANCE),
    Fault(
        "model-gone", "The submit is answered as if the model had been retired.", refuse=Problem.MODEL_GONE
    ),
    Fault("error-500", "The submit is answered with HTTP 500.", refuse=Problem.INTERNAL),
    Fault(
        "error-503", "The submit is answered with HTTP 503, an ordinary outage.", refuse=Problem.UNAVAILABLE
    ),
    Fault(
        "error-503-once",
        "The first submit of this prompt is answered with HTTP 503.",
        once=True,
        refuse=Problem.UNAVAILABLE,
    ),
    Fault(
        "html-502",
        "The submit is answered with HTTP 502 and an HTML page, as a proxy does.",
        refuse=Problem.BAD_GATEWAY,
    ),
    Fault(
        "rate-limit-once",
        "The first submit of this prompt is answered with HTTP 429.",
        once=True,
        refuse=Problem.RATE_LIMITED,
    ),
    Fault("reset", "The connection is reset before anything is accepted or billed.", drop=Drop.BEFORE),
    # -- on submit, accepted and billed
    Fault("lost-answer", "The submit is accepted and billed, and its answer never comes.", drop=Drop.AFTER),
    Fault(
        "lost-answer-once",
        "The first submit of this prompt is accepted and billed, and its answer never comes.",
        once=True,
        drop=Drop.AFTER,
    ),
    Fault("slow-answer", "The submit is accepted and answered after slow_answer_s.", slow_answer=True),
    Fault(
        "model-fallback",
        "Another model than the one asked for does the work, and answers name it.",
        model_returned="seedance-2",
    ),
    # -- while rendering
    Fault(
        "policy-late",
        "The job fails while rendering, for content policy.",
        end=End.FAILED,
        error=_MODERATED,
        code="moderation_blocked",
    ),
    Fault(
        "late-wording",
        "The job fails while rendering, for a reason in words that no list holds.",
        end=End.FAILED,
        error="We were not able to turn this scene into a film",
        code="scene_not_filmed",
    ),
    Fault(
        "fail",
        "The job fails with an internal error.",
        end=End.FAILED,
        error="Internal error while rendering",
    ),
    Fault(
        "fail-once",
        "The first job of this prompt fails with an internal error.",
        once=True,
        end=End.FAILED,
        error="Internal error while rendering",
    ),
    Fault(
        "no-resource",
        "The job ends with the status no_resource: too busy.",
        end=End.NO_RESOURCE,
        error=_BUSY,
        code="no_resource",
    ),
    Fault(
        "no-resource-once",
        "The first job of this prompt ends with the status no_resource.",
        once=True,
        end=End.NO_RESOURCE,
        error=_BUSY,
        code="no_resource",
    ),
    Fault(
        "cancelled",
        "The job ends with the status cancelled.",
        end=End.CANCELLED,
        error="Task was cancelled",
        code="cancelled",
    ),
    Fault("stuck", "The job never ends.", end=End.NEVER),
    Fault("slow", "The render takes three times as long.", render_factor=3),
    Fault("unknown-status", "The status is a word nobody documented while rendering.", words=Words.ODD),
    Fault(
        "odd-status", "The status is a word nobody documented once the job has ended.", words=Words.ODD_END
    ),
    Fault("uppercase", "Status words come in capitals.", words=Words.UPPERCASE),
    Fault(
        "poll-errors",
        "The first three polls of the job fail: 500, 503, a cut connection.",
        poll_errors=3,
    ),
    Fault(
        "foreign-id",
        "Every poll of the job is answered with the id of another one.",
        foreign_ids=NEVER_ENDING,
    ),
    Fault(
        "foreign-id-once",
        "The first two polls of the job are answered with the id of another one.",
        foreign_ids=2,
    ),
    # -- the output
    Fault("empty-output", "The job completes and never names an output.", file=File.EMPTY),
    Fault(
        "empty-output-once",
        "The job completes and names its output only from the third poll on.",
        file=File.EMPTY_ONCE,
    ),
    Fault("late-file", "The output URL answers 404 for the first late_file_s.", file=File.LATE),
    Fault(
        "truncated",
        "The file is cut in half; its Content-Length is that of the half.",
        file=File.TRUNCATED,
    ),
    Fault(
        "damaged",
        "The file has its full length, and other bytes where frames should be.",
        file=File.DAMAGED,
    ),
    Fault(
        "odd-metadata",
        "The video is good, but names inside the file are not UTF-8.",
        file=File.ODD_METADATA,
    ),
    Fault(
        "short-body",
        "The connection is cut halfway through the file; asking for the rest with Range works.",
        file=File.SHORT_BODY,
    ),
    Fault("wrong-size", "The video has another frame size than asked for.", file=File.WRONG_SIZE),
    Fault("wrong-type", "The output URL answers 200 with JSON instead of a video.", file=File.WRONG_TYPE),
    Fault(
        "expired",
        "The first output URL answers 410; the next poll names a fresh one.",
        file=File.EXPIRED,
    ),
)

FAULTS = {fault.name: fault for fault in _TABLE}
_MARKER = re.compile(r"\[sandbox:([a-z0-9-]+)\]")


def faults_in(prompt: str) -> list[Fault]:
    """The faults a prompt asks for, in the order of its markers.

    Raises:
        ValueError: a marker names no fault of the table.
    """
    names = _MARKER.findall(prompt)
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise ValueError(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return [FAULTS[name] for name in names]


def named(names: Iterable[str]) -> list[Fault]:
    """The faults of these names; a name that has left the table is passed over."""
    return [FAULTS[name] for name in names if name in FAULTS]
