"""What code after a production gets of it."""

import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.delivered import NotDeliveredError, delivered_production, delivered_video
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import Producer, key, keys, rows_of


@pytest.mark.anyio
async def test_a_production_is_a_data_frame_and_a_clip_a_file(
    run_context: RunContext, production: Producer, ledger: Ledger
) -> None:
    production(rows_of(a="a cat", b="a dog [sandbox:policy]"))
    await ensure_predictions(run_context, keys("a", "b"), batch_id="batch", may_begin=True)
    await collect_videos(run_context, keys("a"), resume_timed_out=False)
    with pytest.raises(NotDeliveredError, match="not published so far"):
        delivered_production(ledger, "", "prompts").to_pandas()
    assert publish(ledger, "prompts", run_context.settings, "run") is not None
    frame = delivered_production(ledger, "", "prompts").to_pandas().set_index("clip_id")
    assert dict(frame["status"]) == {"a": "delivered", "b": "failed"}
    video = delivered_video(ledger, key("a"))
    assert video.uri == frame.at["a", "video_path"]
    assert video.facts.bytes == frame.at["a", "bytes"]
    with pytest.raises(NotDeliveredError, match="prompts:b is not delivered"):
        delivered_video(ledger, key("b"))
    with pytest.raises(NotDeliveredError, match=r"is not a clip's key"):
        delivered_video(ledger, "a")
    with pytest.raises(NotDeliveredError, match="there are none"):
        delivered_production(ledger, "acme", "prompts")


@pytest.mark.anyio
async def test_costs_are_a_data_frame_of_the_pipelines_own_productions(
    run_context: RunContext, production: Producer, ledger: Ledger
) -> None:
    production(rows_of(a="a cat", b="a dog"))
    production(rows_of(a="an owl"), file="tuesday.csv")
    await ensure_predictions(run_context, keys("a", "b"), batch_id="one", may_begin=True)
    await ensure_predictions(run_context, keys("a", production="tuesday"), batch_id="two", may_begin=True)
    frame = VideoPipeline().costs()
    assert frame.to_dict("list") == {
        "production": ["prompts", "tuesday"],
        "clips": [2, 1],
        "attempts": [2, 1],
        "delivered": [0, 0],
        "spent_usd": [2.4, 1.2],
        "simulated": [True, True],
    }
    assert VideoPipeline().costs("account").to_dict("list")["spent_usd"] == [3.6]
    assert VideoPipeline("acme").costs().empty
