"""The jobs in memory, where polls read them, with the database behind."""

import hashlib
from collections.abc import Iterable
from decimal import Decimal

from sora_pipeline.sandbox.faults import Fault
from sora_pipeline.sandbox.job_database import JobDatabase
from sora_pipeline.sandbox.jobs import Job

_KEYS_LEAKED = "keys-leaked"
_SUBMITS = "submits"


class JobStore:
    """Every accepted job, what they cost together, and a few counts.

    Args:
        database: Where it is written down; read at once.
    """

    def __init__(self, database: JobDatabase) -> None:
        jobs, self._marks = database.load()
        self._database = database
        self._jobs = {job.id: job for job in jobs}
        self._open = {job.id: job for job in jobs if job.ended_at is None}
        self.total_usd = sum((job.cost_usd for job in jobs), Decimal(0))

    def all(self) -> Iterable[Job]:
        """In the order of acceptance."""
        return self._jobs.values()

    def get(self, job_id: str) -> Job | None:
        """The job of this id, unless its client has deleted it."""
        return None if _deleted(job_id) in self._marks else self._jobs.get(job_id)

    def of_format(self, wire: str) -> list[Job]:
        """The jobs that came in one wire format, without the deleted ones, in the order of acceptance."""
        return [
            job for job in self._jobs.values() if job.wire == wire and _deleted(job.id) not in self._marks
        ]

    def delete(self, job: Job) -> None:
        """Hide a job from its client; it stays on the bill."""
        self._count(_deleted(job.id))

    def open(self) -> Iterable[Job]:
        """Jobs that have not ended."""
        return list(self._open.values())

    @property
    def running(self) -> int:
        """How many jobs have not ended."""
        return len(self._open)

    async def add(self, job: Job) -> None:
        """Take a job in; durable when this returns."""
        # Counted before it is written, so that limits hold for submits that arrive meanwhile.
        self._jobs[job.id] = self._open[job.id] = job
        self.total_usd += job.cost_usd
        try:
            await self._database.add(job)
        except Exception:
            del self._jobs[job.id], self._open[job.id]
            self.total_usd -= job.cost_usd
            raise

    def ended(self, job: Job) -> None:
        """Note that a job has ended."""
        if self._open.pop(job.id, None) is not None:
            self._database.update(job)

    def clear(self) -> None:
        """Forget everything."""
        self._jobs.clear()
        self._open.clear()
        self._marks.clear()
        self.total_usd = Decimal(0)
        self._database.clear()

    @property
    def keys_leaked(self) -> int:
        """How often a key was sent where none belongs."""
        return self._marks.get(_KEYS_LEAKED, 0)

    def key_leaked(self) -> None:
        """Note that a key was sent where none belongs."""
        self._count(_KEYS_LEAKED)

    def next_submit(self) -> int:
        """The number of this submit, 1 for the first."""
        return self._count(_SUBMITS)

    @property
    def submits(self) -> int:
        """How many submits came, accepted or not."""
        return self._marks.get(_SUBMITS, 0)

    def was_used(self, fault: Fault, prompt: str) -> bool:
        """Whether a fault that hits a prompt once has hit it."""
        return _once(fault, prompt) in self._marks

    def use(self, fault: Fault, prompt: str) -> None:
        """Note that a fault has hit this prompt, where it does so only once."""
        if fault.once:
            self._count(_once(fault, prompt))

    async def flush(self) -> None:
        """What was noted is durable when this returns."""
        await self._database.flush()

    def _count(self, name: str) -> int:
        value = self._marks[name] = self._marks.get(name, 0) + 1
        self._database.mark(name, value)
        return value


def _deleted(job_id: str) -> str:
    return f"deleted:{job_id}"


def _once(fault: Fault, prompt: str) -> str:
    return f"once:{fault.name}:{hashlib.sha256(prompt.encode()).hexdigest()[:32]}"
