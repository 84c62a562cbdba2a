"""What a clip's Dagster events cost, and which of Dagster's settings change that: a range run over many partitions, in this process.

The asset does nothing but materialize each of its partitions, so that all that is left is what Dagster does for a clip: an event
when the run is planned, and one when the clip is done.
"""

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.databases import POSTGRESQL, SQLITE, database_of

clips = dg.DynamicPartitionsDefinition(name="clips")
RANGE = "dagster/asset_partition_range_"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to let Dagster keep events.

    Attributes:
        name: For the table.
        environment: Variables that Dagster reads.
        database: Where they go.
        note: What it takes away, where that is something.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    database: str = SQLITE
    note: str = ""


VARIANTS = (
    Variant("as it is"),
    Variant("DAGSTER_EVENT_BATCH_SIZE=100", {"DAGSTER_EVENT_BATCH_SIZE": "100"}),
    Variant(
        "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS=true",
        {"DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS": "true"},
        note="clips of a run that fails are not shown as failed",
    ),
    Variant("PostgreSQL", database=POSTGRESQL),
    Variant(
        "PostgreSQL, DAGSTER_EVENT_BATCH_SIZE=100",
        {"DAGSTER_EVENT_BATCH_SIZE": "100"},
        database=POSTGRESQL,
    ),
)


def _done() -> dg.AssetsDefinition:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # of the backfill policy, as in the pipeline
        decorate = dg.asset(
            partitions_def=clips, backfill_policy=dg.BackfillPolicy.single_run(), output_required=False
        )

    @decorate
    def done(context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Every clip of the range, done at once."""
        for key in context.partition_keys:
            yield dg.AssetMaterialization(
                "done", partition=key, metadata={"seconds": 4.0, "path": f"/{key}.mp4"}
            )

    return done


def cost_of_clip(variant: Variant, count: int, folder: Path) -> dict[str, float]:
    """Milliseconds of CPU and of wall time that a clip of a range run takes.

    Raises:
        NoServerError: there is no PostgreSQL server, and one is asked for.
    """
    home = folder / "home"
    home.mkdir(parents=True)
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with (
        database_of(variant.database, home) as settings,
        _variables({**variant.environment, **settings}),
        dg.DagsterInstance.from_config(str(home)) as instance,
    ):
        keys = [f"clip-{number:06}" for number in range(count)]
        instance.add_dynamic_partitions("clips", keys)
        _execute(instance, keys[:1])  # what is done once is not a clip's
        cpu, wall = time.process_time(), time.perf_counter()
        _execute(instance, keys)
        taken = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_ms": taken[0] * 1000 / count, "wall_ms": taken[1] * 1000 / count}


def _execute(instance: dg.DagsterInstance, keys: list[str]) -> None:
    tags = {f"{RANGE}start": keys[0], f"{RANGE}end": keys[-1]}
    definitions = dg.Definitions(assets=[_done()], jobs=[dg.define_asset_job("job", "done")])
    job = definitions.resolve_job_def("job")
    assert job.execute_in_process(instance=instance, tags=tags).success


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
