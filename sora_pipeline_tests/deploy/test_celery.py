"""The deployment of ``deploy/celery`` while everything in it fails: a control, two workers, and no disk that they share."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import httpx
import psutil
import pytest

from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import AttemptState
from sora_pipeline.names import GENERATIONS_JOB, PipelineNames
from sora_pipeline_tests.conftest import rows_of
from sora_pipeline_tests.deploy.deployment import OUTPUT, Deployment, deployment
from sora_pipeline_tests.deploy.places import DEPLOY, read_yaml
from sora_pipeline_tests.killing.referee import violations
from sora_pipeline_tests.killing.second_pipeline import ACME, BUILT_IN

CLIPS = [f"clip-{number:03}" for number in range(100)]
PRODUCTIONS = {"monday": BUILT_IN, "acme-autumn": ACME}
"""By their names: what a pipeline reads is called after it."""
MID_SUBMIT, MID_DOWNLOAD = "before_accept", "mid_download"
SHUT_S = 8.0
SLOTS, LATE = 8, [f"late-{number}" for number in range(40)]
TERMINATE = """mutation ($run: String!) {
  terminateRun(runId: $run) { __typename ... on TerminateRunFailure { message } ... on PythonError { message } }
}"""


def csv_of(name: str, clips: list[str]) -> bytes:
    rows = rows_of(**{each: f"{each} of {name}" for each in clips})
    return "\n".join(["clip_id,prompt", *(f"{row['clip_id']},{row['prompt']}" for row in rows)]).encode()


def delivered(world: Deployment) -> int:
    counts = (
        state is AttemptState.COLLECTED
        for name in PRODUCTIONS
        for state in (each.state for each in world.ledger.attempts.of_production(name))
    )
    return sum(counts)


def accepted(world: Deployment) -> int:
    return sum(bill["accepted"] for bill in world.bills().values())


class Troubles:
    """What befalls the deployment, one after the other, each when so much of the work is done.

    Args:
        world: The deployment.
    """

    def __init__(self, world: Deployment) -> None:
        self._world = world
        self._next = iter(self._all())
        self._now: Callable[[], bool] = next(self._next)
        self.over = False

    def look(self) -> None:
        """Go on where what is waited for has come."""
        while not self.over and self._now():
            following = next(self._next, None)
            self.over = following is None
            self._now = following or self._now

    def _all(self) -> Iterator[Callable[[], bool]]:
        """Each is asked again and again until it says that it is done."""
        world, total = self._world, len(CLIPS) * len(PRODUCTIONS)
        hosts = world.daemon
        yield lambda: accepted(world) >= total * 0.1
        hosts.arm(MID_SUBMIT)
        yield lambda: hosts.kill_victim(MID_SUBMIT)
        yield lambda: delivered(world) >= total * 0.15
        hosts.arm(MID_DOWNLOAD)
        yield lambda: hosts.kill_victim(MID_DOWNLOAD)
        yield lambda: delivered(world) >= total * 0.3
        world.broker.restart()
        yield lambda: delivered(world) >= total * 0.45
        world.cluster.restart_at_once()
        yield lambda: delivered(world) >= total * 0.55
        world.store.refusing, shut = True, time.monotonic()
        yield lambda: world.store.refused >= 10 and time.monotonic() - shut > SHUT_S
        world.store.refusing, world.store.delay_s, slow = False, 1.0, time.monotonic()
        yield lambda: time.monotonic() - slow > SHUT_S
        world.store.delay_s = 0.0
        yield lambda: delivered(world) >= total * 0.7
        hosts.control.replace("daemon")
        hosts.control.replace("web")


def request(world: Deployment, name: str, clips: list[str]) -> None:
    uri = world.store.put(f"manifests/{name.removeprefix('acme-')}.csv", csv_of(name, clips))
    assert world.request(uri, PRODUCTIONS.get(name, BUILT_IN)).production_id == name


def require_all_agree(world: Deployment, folder: Path) -> None:
    """Bill, ledger, objects and partitions are of the same clips, each once."""
    productions = world.ledger.productions.all()
    outputs = {each.production_id: world.output_of(each, folder) for each in productions}
    sound = [clip_key(name, each) for name in PRODUCTIONS for each in CLIPS]
    assert (
        violations(world.ledger, world.bills(), instance=world.instance, sound=sound, outputs=outputs) == []
    )
    statuses = world.statuses()
    counts = Counter(statuses.values())
    assert set(counts) <= {"delivered", "ambiguous"}, counts
    assert counts["delivered"] >= len(sound) * 0.8, counts
    videos = [name for name in world.store.names(f"{OUTPUT}/") if name.endswith(".mp4")]
    assert len(videos) == counts["delivered"]
    for name, pipeline in PRODUCTIONS.items():
        names = PipelineNames(pipeline)
        mine = {
            key for key, status in statuses.items() if status == "delivered" and key.startswith(f"{name}:")
        }
        assert world.instance.get_materialized_partitions(names.videos) == mine
        assert world.instance.get_materialized_partitions(names.generations) == mine
    assert world.unfinished() == []


def require_health_checks(world: Deployment) -> None:
    """Those of the containers say that all is well."""
    services = read_yaml("compose/compose.yaml")["services"]
    (of_image,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.M)
    checks = {
        "code": [*json.loads(of_image)[:-1], str(world.code_port)],
        "daemon": services["daemon"]["healthcheck"]["test"][1:],
        "web": [
            word.replace("http://127.0.0.1:3000", world.web_url)
            for word in services["web"]["healthcheck"]["test"][1:]
        ],
    }
    for name, check in checks.items():
        done = world.daemon.control.run(check)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    _, of_worker = services["worker"]["healthcheck"]["test"]
    for number, worker in enumerate(world.daemon.workers):
        done = worker.run(["sh", "-c", of_worker.replace("celery@$$(", f"worker-{number}@$(")])
        assert done.returncode == 0, done.stdout + done.stderr


def run_at_work(world: Deployment) -> tuple[dg.DagsterRun, int] | None:
    """The run that submits, and its process on one of the workers."""
    filters = dg.RunsFilter(job_name=GENERATIONS_JOB, statuses=[dg.DagsterRunStatus.STARTED])
    for run in world.instance.get_runs(filters=filters, limit=1):
        for event in world.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
            _, found, rest = event.message.partition("Started process for run (pid: ")
            if found:
                return run, int(rest.partition(")")[0])
    return None


def wait_until(what: str, done: Callable[[], object], world: Deployment, timeout_s: float = 240) -> None:
    give_up = time.monotonic() + timeout_s
    while not done():
        world.daemon.ensure()
        assert time.monotonic() < give_up, f"{what}: {world.situation()}"
        time.sleep(0.5)


def require_termination(world: Deployment) -> None:
    """A person who terminates a run in the UI ends it on its worker, and for good."""
    for provider in world.providers.values():
        provider.change(render_s=600)
    before = accepted(world)
    request(world, "wednesday", LATE)
    wait_until(
        "a run fills the slots", lambda: accepted(world) == before + SLOTS and run_at_work(world), world
    )
    run, pid = run_at_work(world) or pytest.fail("no run is at work")
    answer = httpx.post(
        f"{world.web_url}/graphql", json={"query": TERMINATE, "variables": {"run": run.run_id}}, timeout=60
    ).json()
    assert answer["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess", answer
    wait_until("its process ends", lambda: not psutil.pid_exists(pid), world)
    wait_until("it has ended", lambda: world.instance.get_run_by_id(run.run_id).is_finished, world)
    assert world.instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.CANCELED

    def stopped() -> int:
        made = world.ledger.attempts.of_production("wednesday")
        return sum(bool(each.failure and each.failure.kind == "terminated") for each in made)

    wait_until("what it had not sent waits for a word", lambda: stopped() == len(LATE) - SLOTS, world)
    assert accepted(world) == before + SLOTS
    runs = world.instance.get_runs(filters=dg.RunsFilter(job_name=GENERATIONS_JOB))
    assert runs[0].run_id == run.run_id, "nobody goes on with it"


@pytest.mark.deployment
@pytest.mark.timeout(1500)
def test_a_control_and_two_workers_deliver_whatever_fails(tmp_path: Path) -> None:
    settings = {"SORA_IDLE_S": "60", "SORA_MAX_IN_FLIGHT": str(SLOTS)}
    with deployment(3.0, {MID_SUBMIT: 1, MID_DOWNLOAD: 1}, settings) as world:
        for name in PRODUCTIONS:
            request(world, name, CLIPS)
        troubles = Troubles(world)
        world.settle(timeout_s=600, meanwhile=troubles.look, done=lambda: troubles.over)
        assert world.store.refused
        assert len(world.daemon.victims) == 2
        require_all_agree(world, tmp_path)
        require_health_checks(world)
        require_termination(world)
