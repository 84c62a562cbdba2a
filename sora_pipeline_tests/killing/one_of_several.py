"""One of several processes on the same home and ledger: ``python -m … daemon`` or ``… person FIRST LAST``.

A daemon ticks the sensors and executes what they request; a person re-executes a run over a range of clips.
"""

import sys
import time

import dagster as dg

from sora_pipeline.ledger import AttemptState
from sora_pipeline.names import (
    GENERATIONS_JOB,
    PARENT_RUN_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
    VIDEOS_JOB,
)
from sora_pipeline.resources import DeskResource
from sora_pipeline_tests.automation.conftest import Daemon

LONGEST_S = 60.0
OPEN = (AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.IN_FLIGHT)


def be_a_daemon(daemon: Daemon) -> None:
    desk: DeskResource = (daemon.definitions.resources or {})["desk"]
    ledger = desk.ledger.open()
    give_up = time.monotonic() + LONGEST_S
    while time.monotonic() < give_up:
        for sensor, job in (("dispatch_sensor", GENERATIONS_JOB), ("poll_sensor", VIDEOS_JOB)):
            for request in daemon.tick(sensor).requests:
                daemon.run(request, job)
        if not (ledger.clips.pending(3) or ledger.attempts.live(*OPEN) or ledger.attempts.unreported()):
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
    role, *clips = sys.argv[1:]
    with dg.DagsterInstance.get() as the_instance:
        be_a_daemon(Daemon(the_instance)) if role == "daemon" else be_a_person(Daemon(the_instance), *clips)
