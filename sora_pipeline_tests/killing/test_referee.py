"""The referee sees what it is there to see: a judge who finds everything in order proves nothing."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import update

from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import AttemptState, Limits
from sora_pipeline.ledger.schema import attempts
from sora_pipeline.names import PipelineNames
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.ownership import OWNER
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import Producer, RunContexts, Sandbox, key, latest, rows_of
from sora_pipeline_tests.killing.referee import violations
from sora_pipeline_tests.killing.second_pipeline import ACME, SANDBOX

pytestmark = pytest.mark.anyio

MONDAY, AUTUMN = "monday", "acme-autumn"
"""Productions of the two pipelines."""


class Crime:
    """Ways to break the promise, each with words of the sentence that must be found."""

    def __init__(
        self, run_context: RunContext, bills: dict[str, dict[str, Any]], instance: dg.DagsterInstance
    ) -> None:
        self.run_context, self.bills, self.instance = run_context, bills, instance

    def video(self, production: str = MONDAY) -> Path:
        video = latest(self.run_context.ledger, "a", production).result.video
        assert video is not None
        return Path(video.uri)

    def paid_twice(self) -> str:
        again = dict(self.bills[SANDBOX]["items"][0], prediction_id="another")
        self.bills[SANDBOX]["items"].append(again)
        return "monday:a: billed 2 times, accepted 1, perhaps 0 more"

    def not_on_the_bill(self) -> str:
        self.bills[SANDBOX]["items"].pop()
        return "is in the ledger and not on the bill"

    def billed_for_nobody(self) -> str:
        self.bills[ACME]["items"].append(dict(self.bills[ACME]["items"][0], prompt="a whale"))
        return "'a whale' was billed, and no clip has this prompt"

    def on_the_bill_of_the_other_account(self) -> str:
        self.bills[SANDBOX]["items"].append(self.bills[ACME]["items"].pop())
        return "acme-autumn:a of the account acme is on the bill of sandbox"

    def total_is_another(self) -> str:
        self.bills[ACME]["total_usd"] = "2.40"
        return (
            "the account acme: the ledger has 1.2 USD, 0 of it in doubt and 0 of that billed; the bill 2.40"
        )

    def attempt_of_the_other_account(self) -> str:
        attempt = latest(self.run_context.ledger, "a", AUTUMN)
        with self.run_context.ledger.database.write() as connection:
            mine = attempts.c.attempt_id == attempt.attempt_id
            connection.execute(update(attempts).where(mine).values(account=SANDBOX))
        return "acme-autumn:a: attempt 1 is of the account sandbox, and not of acme"

    def manifest_of_the_other_production(self) -> str:
        mine, other = (self.video(name).parents[2] / "metadata.parquet" for name in (MONDAY, AUTUMN))
        mine.write_bytes(other.read_bytes())
        return "monday:a: its row is acme-autumn's, 'an autumn fox'"

    def video_of_the_other_production(self) -> str:
        """Both look alike; what made a file stands beside it."""
        mine, other = (
            (each.parents[2] / ".sidecars" / each.relative_to(each.parents[1])).with_suffix(".json")
            for each in (self.video(MONDAY), self.video(AUTUMN))
        )
        mine.write_bytes(other.read_bytes())
        return "was made for acme-autumn, 'an autumn fox'"

    def output_of_the_other_production(self) -> str:
        path = self.video().parents[2] / OWNER
        path.write_text(json.dumps(json.loads(path.read_text()) | {"production": AUTUMN}))
        return "the output of monday says that it is ('acme-autumn', '', "

    def video_of_a_stranger(self) -> str:
        stranger = self.video().parents[1] / "b" / "b-1-deadbeef.mp4"
        stranger.parent.mkdir()
        stranger.write_bytes(b"a video")
        return "b-1-deadbeef.mp4 is of no clip of monday"

    def partition_of_the_other_pipeline(self) -> str:
        self.instance.add_dynamic_partitions("acme_clips", [key("a", MONDAY)])
        return "acme_clips has ['monday:a'] too many or too few"

    def materialized_nowhere(self) -> str:
        self.instance.wipe_assets([PipelineNames().generations])
        return "monday:a is delivered, and missing in generations"

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
        self.run_context.ledger.attempts.reserve(
            {key("a", MONDAY): 1},
            account=self.run_context.account,
            batch_id="late",
            limits=Limits(20, 3),
            lease_s=60,
            force=True,
        )
        return "monday:a: attempt 2 is stuck in reserved"


CRIMES: list[Callable[[Crime], str]] = [
    Crime.paid_twice,
    Crime.not_on_the_bill,
    Crime.billed_for_nobody,
    Crime.on_the_bill_of_the_other_account,
    Crime.total_is_another,
    Crime.attempt_of_the_other_account,
    Crime.manifest_of_the_other_production,
    Crime.video_of_the_other_production,
    Crime.output_of_the_other_production,
    Crime.video_of_a_stranger,
    Crime.partition_of_the_other_pipeline,
    Crime.materialized_nowhere,
    Crime.file_is_gone,
    Crime.file_is_cut,
    Crime.left_in_staging,
    Crime.stuck,
]


@pytest.fixture
async def second_context(contexts: RunContexts, second_sandbox: Sandbox) -> AsyncIterator[RunContext]:
    async with RunContexts(second_sandbox, contexts.ledger).open("run-2", account=ACME) as run_context:
        yield replace(run_context, pipeline=ACME)


@pytest.mark.parametrize("commit", CRIMES, ids=lambda crime: crime.__name__)
async def test_referee_sees_it(
    run_context: RunContext,
    second_context: RunContext,
    sandbox: Sandbox,
    second_sandbox: Sandbox,
    production: Producer,
    instance: dg.DagsterInstance,
    commit: Callable[[Crime], str],
) -> None:
    monday = production(rows_of(a="a fox"), file="monday.csv")
    autumn = production(rows_of(a="an autumn fox"), file="autumn.csv", pipeline=ACME, account=ACME)
    for context, made in ((run_context, monday), (second_context, autumn)):
        clip = clip_key(made.production_id, "a")
        await ensure_predictions(context, [clip], batch_id=made.production_id, may_begin=True)
        await collect_videos(context, [clip], resume_timed_out=False)
        assert latest(context.ledger, "a", made.production_id).state is AttemptState.COLLECTED
        names = PipelineNames(context.pipeline)
        for asset in (names.generations, names.videos):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=clip))
        assert publish(context.ledger, made.production_id, context.settings, "judge") is not None
    bills = {SANDBOX: sandbox.bill(), ACME: second_sandbox.bill()}
    sound = [key("a", MONDAY), key("a", AUTUMN)]
    assert violations(run_context.ledger, bills, instance=instance, sound=sound) == []
    crime = Crime(run_context, bills, instance)
    expected = commit(crime)
    found = violations(run_context.ledger, crime.bills, instance=instance)
    assert any(expected in each for each in found), (expected, found)
