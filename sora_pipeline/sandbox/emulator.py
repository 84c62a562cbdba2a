"""The provider itself, whatever format it is spoken to in: decides on submits, answers for jobs, keeps its settings."""

import asyncio
import secrets
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sora_pipeline.sandbox.catalogue import MODELS
from sora_pipeline.sandbox.connections import DropConnection
from sora_pipeline.sandbox.faults import Drop, Fault, File, faults_in
from sora_pipeline.sandbox.jobs import Job, Outcome
from sora_pipeline.sandbox.limits import SubmitLimiter, drawn_faults, render_time
from sora_pipeline.sandbox.refusals import Problem, Refusal
from sora_pipeline.sandbox.render_queue import RenderQueue
from sora_pipeline.sandbox.settings import Outage, SandboxSettings
from sora_pipeline.sandbox.store import JobStore
from sora_pipeline.sandbox.submits import (
    RawSubmit,
    Submit,
    check_image,
    read_duration,
    read_image,
    read_model,
    read_prompt,
    read_size,
)

_OUTAGES = {
    Outage.INTERNAL: Problem.INTERNAL,
    Outage.BAD_GATEWAY: Problem.BAD_GATEWAY,
    Outage.UNAVAILABLE: Problem.UNAVAILABLE,
}
_POLL_ERRORS = (Problem.INTERNAL, Problem.UNAVAILABLE, None)  # None cuts the connection
_EMPTY_ANSWERS = 2
_ID_DIGITS = 32
_HANG_S = 600  # longer than any client waits


class Emulator:
    """What every wire format talks to.

    Args:
        settings: How it behaves; see :meth:`change`.
        store: The jobs.
        render_queue: Brings jobs to their end.
    """

    def __init__(self, settings: SandboxSettings, store: JobStore, render_queue: RenderQueue) -> None:
        self.settings = settings
        self.store = store
        self.render_queue = render_queue
        self.instance = secrets.token_hex(16)  # tells this server from another one on the same port
        self._limiter = SubmitLimiter()
        self._outage_began = time.monotonic()

    async def check_outage(self) -> None:
        """Break off as the whole provider does at the moment."""
        outage = self._outage()
        if outage in _OUTAGES:
            raise Refusal(_OUTAGES[outage])
        waited_until = time.monotonic() + _HANG_S
        while self._outage() is Outage.HANG and time.monotonic() < waited_until:  # noqa: ASYNC110 - ends by the clock too
            await asyncio.sleep(0.1)
        if outage is not Outage.NONE:
            raise DropConnection(reset=True)  # also after a hang: a client that has left is not served late

    def _outage(self) -> Outage:
        """The outage of this moment; one whose time is over is switched off."""
        if 0 < self.settings.outage_s < time.monotonic() - self._outage_began:
            self.settings = self.settings.changed({"outage": Outage.NONE})
        return self.settings.outage

    async def admit(self, key: str | None) -> None:
        """Let a request of a wire format in, or not.

        Raises:
            Refusal: the provider is down, or the key is missing, wrong or revoked.
        """
        await self.check_outage()
        accepted = self.settings.api_key.get_secret_value()
        if (
            self.settings.key_revoked
            or not key
            or not secrets.compare_digest(key.encode(), accepted.encode())
        ):
            raise Refusal(Problem.BAD_KEY)

    async def submit(self, wire: str, raw: RawSubmit, *, id_prefix: str = "") -> Job:
        """Take a submit; what is returned is billed and durable.

        Args:
            wire: The wire format's name.
            raw: What the client asked for.
            id_prefix: How the format's ids begin.

        Raises:
            Refusal: it is not accepted and not billed.
            DropConnection: its answer is lost on purpose.
        """
        settings = self.settings
        number = self.store.next_submit()
        self._limiter.take(settings.submits_per_minute)
        prompt = read_prompt(raw.prompt)
        faults = self._faults(prompt, number)
        await self._refuse(prompt, faults)
        submit = await self._read(raw, prompt)
        self._check_capacity(submit)
        job_id = id_prefix + uuid.uuid4().hex
        job = self._job(job_id, wire, submit, faults, render_time(settings, number, faults))
        for fault in faults:
            self.store.use(fault, prompt)  # committed with the job, or before it
        await self.store.add(job)
        self.render_queue.begin(job, shared=settings.shared_renders)
        if any(fault.slow_answer for fault in faults):
            await asyncio.sleep(settings.slow_answer_s)
        if any(fault.drop is Drop.AFTER for fault in faults):
            raise DropConnection(reset=False)
        return job

    def find(self, job_id: str, wire: str) -> Job:
        """The job a poll asks for; it came in the same wire format.

        Raises:
            Refusal: there is none, or this poll fails on purpose.
            DropConnection: this poll is cut on purpose.
        """
        job = self.known(job_id, wire)
        if job.failed_polls < max((fault.poll_errors for fault in job.faults), default=0):
            problem = _POLL_ERRORS[job.failed_polls % len(_POLL_ERRORS)]
            job.failed_polls += 1
            if problem is None:
                raise DropConnection(reset=True)
            raise Refusal(problem)
        if job.foreign_polls < max((fault.foreign_ids for fault in job.faults), default=0):
            job.foreign_polls += 1
            return replace(job, id=job.id[:-_ID_DIGITS] + job.id[-_ID_DIGITS:][::-1])
        return job

    def known(self, job_id: str, wire: str) -> Job:
        """The job of an id, whatever its polls do.

        Raises:
            Refusal: there is none.
        """
        job = self.store.get(job_id)
        if job is None or job.wire != wire:
            raise Refusal(Problem.UNKNOWN_PREDICTION)
        return job

    def has_model(self, name: str) -> bool:
        """Whether submits for a model would be taken."""
        return name in MODELS and not self.settings.model_gone

    def output_urls(self, job: Job, requested_origin: str) -> list[str]:
        """The output URLs that this poll may name, below the origin that was asked or the one of the settings."""
        origin = (self.settings.output_base_url or requested_origin).rstrip("/")
        return [origin + path for path in self.output_paths(job)]

    def output_paths(self, job: Job) -> list[str]:
        """The paths of the outputs that this poll may name."""
        if job.outcome is not Outcome.COMPLETED or job.file_fault is File.EMPTY:
            return []
        if job.file_fault is File.EMPTY_ONCE and job.empty_answers < _EMPTY_ANSWERS:
            job.empty_answers += 1
            return []
        fresh = job.file_fault is File.EXPIRED and job.first_url_used
        job.renewed = job.renewed or fresh
        return [f"/outputs/{job.id}-fresh.mp4" if fresh else f"/outputs/{job.output_name}"]

    def change(self, changes: Mapping[str, Any]) -> None:
        """Change settings on the running server.

        Raises:
            ValueError: a name or a value is bad; nothing is changed.
        """
        self.settings = self.settings.changed(changes)
        if "outage" in changes:
            self._outage_began = time.monotonic()

    async def reset(self) -> None:
        """Forget all jobs, the bill and the files; settings stay."""
        self.store.clear()
        self._limiter.clear()
        await self.render_queue.clear()

    def _faults(self, prompt: str, number: int) -> list[Fault]:
        try:
            wanted = [*faults_in(prompt), *drawn_faults(self.settings, number)]
        except ValueError as error:
            raise Refusal(Problem.INVALID, str(error)) from None
        return [fault for fault in wanted if not (fault.once and self.store.was_used(fault, prompt))]

    async def _refuse(self, prompt: str, faults: list[Fault]) -> None:
        if self.settings.model_gone:
            raise Refusal(Problem.MODEL_GONE)
        for fault in faults:
            if fault.refuse or fault.drop is Drop.BEFORE:
                self.store.use(fault, prompt)
                await self.store.flush()
            if fault.refuse:
                wait = 1 if fault.refuse is Problem.RATE_LIMITED else None
                raise Refusal(fault.refuse, retry_after_s=wait)
            if fault.drop is Drop.BEFORE:
                raise DropConnection(reset=True)

    async def _read(self, raw: RawSubmit, prompt: str) -> Submit:
        model = read_model(raw.model)
        duration, size = read_duration(raw.duration, model), read_size(raw.size, model)
        image = await read_image(raw.image)
        submit = Submit(model, prompt, duration, size, image)
        if image is not None:
            await asyncio.to_thread(check_image, image, size)
            await asyncio.to_thread(self.render_queue.save_image, image, submit.image_sha256 or "")
        return submit

    def _check_capacity(self, submit: Submit) -> None:
        settings = self.settings
        if settings.max_running and self.store.running >= settings.max_running:
            raise Refusal(Problem.TOO_MANY_RUNNING, retry_after_s=1)
        cost = submit.model.cost(submit.size, submit.duration)
        if settings.balance_usd is not None and self.store.total_usd + cost > settings.balance_usd:
            raise Refusal(Problem.NO_BALANCE)

    def _job(self, job_id: str, wire: str, submit: Submit, faults: list[Fault], render_s: float) -> Job:
        now = time.time()
        return Job(
            id=job_id,
            wire=wire,
            model=submit.model.name,
            prompt=submit.prompt,
            duration=submit.duration,
            size=submit.size,
            image_sha256=submit.image_sha256,
            cost_usd=submit.model.cost(submit.size, submit.duration),
            accepted_at=now,
            ready_at=now + render_s,
            fault_names=tuple(fault.name for fault in faults),
        )
