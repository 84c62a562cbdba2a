"""Clips that are submitted, fetched and published with their output on each kind of store."""

import io

import pyarrow.parquet as pq
import pytest

from sora_pipeline.production.publishing import publish
from sora_pipeline_tests.conftest import PROMPTS, Producer, RunContexts, Sandbox, latest, rows_of, settings_of
from sora_pipeline_tests.object_stores.conftest import Place
from sora_pipeline_tests.object_stores.s3 import ObjectStore
from sora_pipeline_tests.production.parts import video_of
from sora_pipeline_tests.production.test_publishing import make

pytestmark = [pytest.mark.anyio, pytest.mark.services]


async def test_clips_are_delivered_and_published_on_each_store(
    contexts: RunContexts, production: Producer, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_OUTPUT", place.store.uri)
    made = production(rows_of(a="a fox", b="[sandbox:policy] an owl"))
    async with contexts.open() as run_context:
        await make(run_context, "a", "b")
    assert publish(contexts.ledger, made.production_id, settings_of(), "publisher") is not None
    rows = pq.read_table(io.BytesIO(place.store.read_bytes(f"{PROMPTS}/metadata.parquet"))).to_pylist()
    assert [(row["clip_id"], row["status"]) for row in rows] == [("a", "delivered"), ("b", "failed")]
    assert place.store.sha256(f"{PROMPTS}/{rows[0]['file_name']}") == rows[0]["sha256"]
    assert place.store.exists(f"{PROMPTS}/gallery.html")


@pytest.mark.parametrize("place", ["s3"], indirect=True)
async def test_an_answer_that_is_lost_makes_no_second_video(
    contexts: RunContexts,
    sandbox: Sandbox,
    production: Producer,
    place: Place,
    s3: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SORA_OUTPUT", place.store.uri)
    production(rows_of(a="a fox"))
    s3.losing = True  # the first object that is stored with the clip is its video
    async with contexts.open() as run_context:
        await make(run_context, "a")
    video = f"{PROMPTS}/{video_of(latest(contexts.ledger, 'a')).file_name}"
    assert sum(method == "PUT" and path.endswith(video) for method, path, _ in s3.asked) == 2
    assert place.store.names(f"{PROMPTS}/videos/a") == [video]
    assert sandbox.billed == 1
