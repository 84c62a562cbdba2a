"""What a job is: one accepted submit, from its bill to its end. Knows no wire format."""

import time
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from sora_pipeline.sandbox.faults import End, Fault, File, named
from sora_pipeline.sandbox.size import Size


class Outcome(StrEnum):
    """How a job ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    NO_RESOURCE = "no_resource"
    CANCELLED = "cancelled"


class State(StrEnum):
    """Where a job stands, before a wire format finds its word for it."""

    CREATED = "created"
    PROCESSING = "processing"
    ENDED = "ended"


@dataclass(slots=True)
class Job:
    """One accepted submit; every field up to ``error`` is kept in the database.

    Attributes:
        wire: The wire format it came in.
        ready_at: Epoch seconds at which its render time is over.
        fault_names: The faults it was accepted with.
        has_file: Whether its video lies in the output folder.
        empty_answers: Polls that were answered completed with no output.
        failed_polls: Polls that were answered with an error on purpose.
        foreign_polls: Polls that were answered with another job's id on purpose.
        first_url_used: Whether an output that expires was asked for.
        renewed: Whether it was polled again since.
        empty_contents: Downloads that were answered as if there were no file.
    """

    id: str
    wire: str
    model: str
    prompt: str
    duration: int
    size: Size
    image_sha256: str | None
    cost_usd: Decimal
    accepted_at: float
    ready_at: float
    fault_names: tuple[str, ...] = ()
    ended_at: float | None = None
    outcome: Outcome | None = None
    error: str | None = None

    has_file: bool = False
    empty_answers: int = 0
    failed_polls: int = 0
    foreign_polls: int = 0
    first_url_used: bool = False
    renewed: bool = False
    empty_contents: int = 0
    faults: list[Fault] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.faults = named(self.fault_names)

    def what_is_billed(self) -> dict[str, str | int | None]:
        """What was accepted and what it costs, as JSON values; the database and the bill hold the same."""
        return {
            "model": self.model,
            "prompt": self.prompt,
            "duration": self.duration,
            "size": str(self.size),
            "image_sha256": self.image_sha256,
            "cost_usd": str(self.cost_usd),
        }

    @property
    def end(self) -> End | None:
        """How a fault makes it end instead of with a video."""
        return next((fault.end for fault in self.faults if fault.end), None)

    @property
    def file_fault(self) -> File | None:
        """What a fault does to its output."""
        return next((fault.file for fault in self.faults if fault.file), None)

    @property
    def model_returned(self) -> str:
        """The model that answers name."""
        return next((fault.model_returned for fault in self.faults if fault.model_returned), self.model)

    @property
    def error_code(self) -> str:
        """The error in a word, for formats that have one."""
        return next((fault.code for fault in self.faults if fault.end), "internal_error")

    @property
    def needs_render(self) -> bool:
        """Whether there is a video to be made."""
        return self.end is None and self.file_fault is not File.EMPTY and not self.has_file

    @property
    def render_size(self) -> Size:
        """The frame size of the file; not always the one asked for."""
        if self.file_fault is File.WRONG_SIZE:
            return Size(self.size.width // 4 * 2, self.size.height // 4 * 2)
        return self.size

    @property
    def output_name(self) -> str:
        """File name in the output folder."""
        return f"{self.id}.mp4"

    @property
    def is_unfinished(self) -> bool:
        """Whether it will still come to an end by itself."""
        return self.ended_at is None and self.end is not End.NEVER

    def state(self, now: float | None = None) -> State:
        """Where it stands."""
        if self.ended_at is not None:
            return State.ENDED
        elapsed = (now or time.time()) - self.accepted_at
        waiting = 0.2 * (self.ready_at - self.accepted_at)
        return State.CREATED if elapsed < waiting else State.PROCESSING

    def settle(self, now: float) -> bool:
        """End it if its time has come; whether it ended just now."""
        if self.ended_at is not None or now < self.ready_at or self.end is End.NEVER:
            return False
        if self.end is not None:
            self.outcome = Outcome(self.end.value)
            self.error = next(fault.error for fault in self.faults if fault.end)
        elif self.needs_render:
            return False
        else:
            self.outcome = Outcome.COMPLETED
        self.ended_at = now
        return True

    def fail(self, now: float, error: str) -> None:
        """End it as failed: it could not be rendered."""
        self.outcome, self.error, self.ended_at = Outcome.FAILED, error, now
