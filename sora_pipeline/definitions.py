"""The code location of this project: the pipeline without a name, as the environment sets it."""

import dagster as dg

from sora_pipeline.pipeline import VideoPipeline

# One process a run for what people materialize, too: a process for each step would double the start-up.
defs = dg.Definitions.merge(VideoPipeline().definitions(), dg.Definitions(executor=dg.in_process_executor))
