"""The provider's limits on submits, and which faults the dice deal out. Pure but for the clock."""

import hashlib
import math
import time
from collections import deque

from sora_pipeline.sandbox.faults import FAULTS, Fault
from sora_pipeline.sandbox.refusals import Problem, Refusal
from sora_pipeline.sandbox.settings import SandboxSettings

WINDOW_S = 60


class SubmitLimiter:
    """Counts submits in a sliding minute; one that is turned away here does not count."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def take(self, per_minute: int) -> None:
        """Count a submit.

        Raises:
            Refusal: there were enough in the last minute.
        """
        if not per_minute:
            return
        now = time.monotonic()
        while self._times and self._times[0] <= now - WINDOW_S:
            self._times.popleft()
        if len(self._times) >= per_minute:
            wait = self._times[-per_minute] + WINDOW_S - now
            raise Refusal(Problem.RATE_LIMITED, retry_after_s=math.ceil(wait))
        self._times.append(now)

    def clear(self) -> None:
        """Forget the last minute."""
        self._times.clear()


def chance(seed: int, *what: object) -> float:
    """A number in [0, 1) that is always the same for the same seed and words."""
    digest = hashlib.sha256("\0".join(map(str, (seed, *what))).encode()).digest()
    return int.from_bytes(digest[:7]) / 2**56


def drawn_faults(settings: SandboxSettings, submit: int) -> list[Fault]:
    """The faults that ``fault_rates`` deals to this submit."""
    return [
        FAULTS[name]
        for name, rate in settings.fault_rates.items()
        if chance(settings.seed, submit, name) < rate
    ]


def render_time(settings: SandboxSettings, submit: int, faults: list[Fault]) -> float:
    """Seconds that this submit's job takes."""
    jitter = settings.render_jitter * (2 * chance(settings.seed, submit, "jitter") - 1)
    return settings.render_s * (1 + jitter) * math.prod(fault.render_factor for fault in faults)
