"""The first runs of a production that a command asks for: what the sensors would request, a few ticks earlier."""

import dagster as dg

from sora_pipeline.automation.dispatch import plan_runs
from sora_pipeline.automation.planning import PartitionRange
from sora_pipeline.automation.poll import request_fetching
from sora_pipeline.ledger.batches import VIDEOS
from sora_pipeline.names import BATCH_TAG
from sora_pipeline.runtime import PipelineRuntime


def plan_first_runs(instance: dg.DagsterInstance, runtime: PipelineRuntime) -> list[dg.RunRequest]:
    """The runs that submit, as the dispatch sensor plans them, each with one that fetches the same clips as they are rendered."""
    submitting, _ = plan_runs(instance, runtime)
    batches = (runtime.ledger.batches.get(request.tags[BATCH_TAG]) for request in submitting)
    planned = [batch for batch in batches if batch is not None and batch.keys]
    fetched = {
        key
        for batch in runtime.ledger.batches.unfinished(runtime.names.name)
        if batch.asset == VIDEOS
        for key in batch.keys
    }
    ranges = [batch.keys for batch in planned if fetched.isdisjoint(batch.keys)]
    return [*submitting, *(request_fetching(runtime, PartitionRange(keys)) for keys in ranges)]
