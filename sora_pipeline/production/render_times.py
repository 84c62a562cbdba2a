"""What an account's renders took lately, and when its predictions are polled by that."""

import time

from sora_pipeline.admission.limits import account_of
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.types import RenderEnd, RenderKind
from sora_pipeline.production.poll_schedule import PollSchedule, poll_schedule
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.settings import Settings

READ_AGAIN_S = 5.0
ENDS_READ = 300
"""The newest ends of an account, of whatever kind: enough for five kinds side by side."""


class RenderTimes:
    """The schedules of one run or tick; the ledger is asked every few seconds, and not at each poll.

    Args:
        ledger: Where the ends of predictions are.
        settings: With the account and the interval where nothing is known.
        catalogue: What renders are expected to take.
    """

    def __init__(self, ledger: Ledger, settings: Settings, catalogue: Catalogue) -> None:
        self._ledger = ledger
        self._settings = settings
        self._catalogue = catalogue
        self._read_at = -READ_AGAIN_S
        self._ends: dict[RenderKind, tuple[RenderEnd, ...]] = {}
        self._schedules: dict[RenderKind, PollSchedule] = {}

    def schedule(self, kind: RenderKind) -> PollSchedule:
        """When predictions of a kind are polled, as of a few seconds ago at most."""
        if time.monotonic() - self._read_at >= READ_AGAIN_S:
            self._read()
        schedules = self._schedules
        if kind not in schedules:
            schedules[kind] = poll_schedule(
                self._ends.get(kind, ()),
                interval_s=self._settings.poll_interval_s,
                expected_s=self._expected_s(kind),
            )
        return schedules[kind]

    def _read(self) -> None:
        ends: dict[RenderKind, list[RenderEnd]] = {}
        for end in self._ledger.attempts.render_ends(self._settings.account_name, ENDS_READ):
            ends.setdefault(end.kind, []).append(end)
        # Whole dictionaries change places: submits ask from threads of their own.
        before, self._ends = self._ends, {kind: tuple(newest) for kind, newest in ends.items()}
        self._schedules = {
            kind: schedule
            for kind, schedule in self._schedules.items()
            if self._ends.get(kind, ()) == before.get(kind, ())
        }
        self._read_at = time.monotonic()

    def _expected_s(self, kind: RenderKind) -> float | None:
        """What the catalogue expects; of a simulated account nothing, which is as quick as it was told to be."""
        model = self._catalogue.find(kind.model)
        return None if model is None or account_of(self._settings).simulated else model.expected_render_s
