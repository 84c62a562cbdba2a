"""The first runs of a production that a command asks for: what the sensors would request, a few ticks earlier."""

import dagster as dg

from sora_pipeline.automation.dispatch import free_slots, plan_runs
from sora_pipeline.automation.planning import contiguous_ranges
from sora_pipeline.automation.poll import request_fetching
from sora_pipeline.automation.requests import partition_order
from sora_pipeline.ledger.batches import VIDEOS
from sora_pipeline.names import BATCH_TAG
from sora_pipeline.runtime import PipelineRuntime

FIRST_CLIPS = 100
"""Clips of the very first run: Dagster notes each partition before a run begins, which takes seconds for hundreds."""


def plan_first_runs(instance: dg.DagsterInstance, runtime: PipelineRuntime) -> list[dg.RunRequest]:
    """The runs that submit, as the dispatch sensor plans them, each with one that fetches the same clips as they are rendered.

    A short run comes first, and where slots are left, one follows that is as long as they are many: until a longer one had begun,
    they would stand empty. One run fetches both.
    """
    batch_size = runtime.settings.batch_size
    submitting, _ = plan_runs(instance, runtime, min(batch_size, FIRST_CLIPS))
    if submitting and batch_size > FIRST_CLIPS:
        longest = min(batch_size - FIRST_CLIPS, max(FIRST_CLIPS, free_slots(runtime)))
        submitting += plan_runs(instance, runtime, longest)[0]
    batches = (runtime.ledger.batches.get(request.tags[BATCH_TAG]) for request in submitting)
    planned = {key for batch in batches if batch is not None for key in batch.keys}
    fetched = {
        key
        for batch in runtime.ledger.batches.unfinished(runtime.names.name)
        if batch.asset == VIDEOS
        for key in batch.keys
    }
    to_fetch = planned - fetched
    ranges = contiguous_ranges(to_fetch, partition_order(instance, runtime.names, to_fetch), batch_size)
    return [*submitting, *(request_fetching(runtime, partitions) for partitions in ranges)]
