"""The referee sees what it is there to see: a judge who finds everything in order proves nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.ledger import AttemptState, Limits
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import Desk
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import Producer, Sandbox, latest, rows_of
from sora_pipeline_tests.killing.referee import violations

pytestmark = pytest.mark.anyio


class Crime:
    """Ways to break the promise, each with words of the sentence that must be found."""

    def __init__(self, desk: Desk, sandbox: Sandbox) -> None:
        self.desk, self.sandbox = desk, sandbox
        self.bill: dict[str, Any] = sandbox.bill()

    def video(self) -> Path:
        attempt = latest(self.desk.ledger, "a")
        assert attempt.output_uri is not None
        assert attempt.file_name is not None
        return Path(attempt.output_uri) / attempt.file_name

    def paid_twice(self) -> str:
        again = dict(self.bill["items"][0], prediction_id="another")
        self.bill["items"].append(again)
        return "a: billed 2 times, accepted 1, perhaps 0 more"

    def not_on_the_bill(self) -> str:
        self.bill["items"].pop()
        return "is in the ledger and not on the bill"

    def file_is_gone(self) -> str:
        self.video().unlink()
        return "is not there"

    def file_is_cut(self) -> str:
        content = self.video().read_bytes()
        self.video().write_bytes(content[: len(content) // 2])
        return "is not the file that the manifest describes"

    def left_in_staging(self) -> str:
        (self.video().parents[2] / ".staging" / "77-a-deadbeef.mp4").write_bytes(b"half a video")
        return "77-a-deadbeef.mp4 was left in .staging"

    def stuck(self) -> str:
        self.desk.ledger.attempts.reserve(
            {"a": 1}, batch_id="late", limits=Limits(20, 3), lease_s=60, force=True
        )
        return "a: attempt 2 is stuck in reserved"


CRIMES: list[Callable[[Crime], str]] = [
    Crime.paid_twice,
    Crime.not_on_the_bill,
    Crime.file_is_gone,
    Crime.file_is_cut,
    Crime.left_in_staging,
    Crime.stuck,
]


@pytest.mark.parametrize("commit", CRIMES, ids=lambda crime: crime.__name__)
async def test_referee_sees_it(
    desk: Desk, sandbox: Sandbox, production: Producer, commit: Callable[[Crime], str]
) -> None:
    identity = production(rows_of(a="a fox")).production_id
    await ensure_predictions(desk, ["a"], batch_id="batch", may_begin=True)
    await collect_videos(desk, ["a"], resume_timed_out=False)
    assert latest(desk.ledger, "a").state is AttemptState.COLLECTED
    assert publish(desk.ledger, identity, desk.settings, "judge") is not None
    assert violations(desk.ledger, identity, sandbox.bill(), sound=["a"]) == []
    crime = Crime(desk, sandbox)
    expected = commit(crime)
    assert any(expected in each for each in violations(desk.ledger, identity, crime.bill)), expected
