"""The contender that does it the usual Dagster way: a dynamic partition for every clip, and a run for every partition.

As a module it is the code location. As a program (``python -m benchmarks.run_per_clip MANIFEST OUTPUT --url URL
--in-flight 20``) it starts a daemon on that location, waits until every run has ended, and stops the daemon.
It is given what helps it: in-process executor, launching and dequeuing in threads, a queue looked at every second.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.arguments import read_arguments
from benchmarks.provider_client import Row, make_clip, open_client, read_rows

INSTANCE = """\
run_queue:
  max_concurrent_runs: {in_flight}
  dequeue_interval_seconds: 1
  dequeue_use_threads: true
  dequeue_num_workers: 4
sensors:
  use_threads: true
  num_workers: 2
  num_submit_workers: 4
telemetry:
  enabled: false
"""

clips = dg.DynamicPartitionsDefinition(name="clips")


def rows() -> dict[str, Row]:
    """The manifest's rows by clip id."""
    return {row["clip_id"]: row for row in read_rows(Path(os.environ["BENCH_MANIFEST"]))}


@dg.asset(partitions_def=clips)
async def clip(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    """One video: submitted, waited for, downloaded."""
    async with open_client(os.environ["BENCH_URL"]) as client:
        video = await make_clip(client, rows()[context.partition_key], Path(os.environ["BENCH_OUTPUT"]))
    return dg.MaterializeResult(metadata={"video": dg.MetadataValue.path(video)})


clip_job = dg.define_asset_job("clip_job", [clip], partitions_def=clips)


@dg.sensor(job=clip_job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def new_clips(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Register the manifest's new clips and request a run for each."""
    known = set(context.instance.get_dynamic_partitions("clips"))
    new = [clip_id for clip_id in rows() if clip_id not in known]
    if not new:
        return dg.SkipReason("no new clip")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=clip_id, partition_key=clip_id) for clip_id in new],
        dynamic_partitions_requests=[clips.build_add_request(new)],
    )


defs = dg.Definitions(assets=[clip], jobs=[clip_job], sensors=[new_clips], executor=dg.in_process_executor)


def main() -> int:
    """Produce a manifest; returns 1 where a run failed."""
    options = read_arguments()
    os.environ["BENCH_MANIFEST"] = str(options.manifest)
    os.environ["BENCH_OUTPUT"] = str(options.output)
    os.environ["BENCH_URL"] = options.url
    home = Path(os.environ["DAGSTER_HOME"])
    (home / "dagster.yaml").write_text(INSTANCE.format(in_flight=options.in_flight))
    daemon = subprocess.Popen(
        [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-m", "benchmarks.run_per_clip"]
    )
    try:
        return _wait(daemon, len(rows()))
    finally:
        daemon.send_signal(signal.SIGINT)
        daemon.wait()


def _wait(daemon: subprocess.Popen[bytes], wanted: int) -> int:
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
    succeeded = dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS])
    with dg.DagsterInstance.get() as instance:
        while daemon.poll() is None:
            failures = instance.get_runs_count(failed)
            if failures + instance.get_runs_count(succeeded) >= wanted:
                return 1 if failures else 0
            time.sleep(1)
    print(f"the daemon ended with exit code {daemon.returncode}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
