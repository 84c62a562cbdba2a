"""One of several processes on the same home and ledger: ``python -m … daemon PIPELINE`` or ``… person FIRST LAST``.

A daemon ticks the sensors of one pipeline and executes what they request; a person re-executes a run of the built-in
pipeline over a range of clips.
"""

import sys
import time
from dataclasses import dataclass

import dagster as dg

from sora_pipeline.ledger import AttemptState
from sora_pipeline.names import (
    GENERATIONS_JOB,
    PARENT_RUN_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
    VIDEOS_JOB,
    PipelineNames,
)
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.killing.second_pipeline import pipeline_of

LONGEST_S = 60.0
OPEN = (AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.IN_FLIGHT)


@dataclass
class PipelineDaemon(Daemon):
    """A daemon that serves one pipeline.

    Attributes:
        pipeline: Its name.
    """

    pipeline: str = ""

    @property
    def definitions(self) -> dg.Definitions:
        return pipeline_of(self.pipeline).definitions()


def be_a_daemon(daemon: PipelineDaemon) -> None:
    name = daemon.pipeline
    names, settings = PipelineNames(name), pipeline_of(name).settings
    ledger = PipelineRuntime(names, settings).ledger
    sensors = {"dispatch_sensor": names.generations_job, "poll_sensor": names.videos_job}
    give_up = time.monotonic() + LONGEST_S
    while time.monotonic() < give_up:
        for sensor, job in sensors.items():
            for request in daemon.tick(names.of(sensor)).requests:
                daemon.run(request, job)
        pending = ledger.clips.pending(3, pipeline=name)
        if not (pending or ledger.attempts.live(*OPEN, pipeline=name) or ledger.attempts.unreported(name)):
            return
    raise SystemExit("there was work left")


def be_a_person(daemon: Daemon, first: str, last: str) -> None:
    """Re-execute a sensor's run while it, or another, is still at work."""
    tags = {
        RANGE_START_TAG: first,
        RANGE_END_TAG: last,
        REQUESTED_BY_TAG: "dispatch_sensor",
        PARENT_RUN_TAG: "00000000-0000-0000-0000-000000000000",
    }
    for job in (GENERATIONS_JOB, VIDEOS_JOB):
        assert daemon.run(dg.RunRequest(job_name=job, tags=tags)).success


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    with dg.DagsterInstance.get() as the_instance:
        if role == "daemon":
            be_a_daemon(PipelineDaemon(the_instance, pipeline=rest[0]))
        else:
            be_a_person(PipelineDaemon(the_instance), *rest)
