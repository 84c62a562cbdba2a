"""Three pipelines in two code locations of one instance, which a real daemon runs: nobody sees anything of the others."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pyarrow.parquet as pq
import pytest

from sora_pipeline.headless.home import prepare_home
from sora_pipeline.ledger import Account, AttemptState, Ledger, Plan
from sora_pipeline.names import BATCH_TAG, REQUESTED_BY_TAG, RETRY_NUMBER_TAG
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import QUICK, Sandbox, rows_of, url_of_ledger, write_manifest
from sora_pipeline_tests.two_pipelines.test_location import NAME

PATIENCE_S = 480.0
"""Beyond what it takes on a machine that is busy with other tests."""
PROMPTS = {
    "acme": {"own": "a fox", "both": "a bear"},
    "zeta": {"own": "an owl", "both": "a lion"},
    "plain": {"own": "a hare", "both": "a crow"},
}
"""By production: equal clip ids, and none of the prompts twice."""
ACCOUNTS = {
    "acme": Account("acme", "sandbox", simulated=True),
    "zeta": Account("zeta", "openai-videos", simulated=False),
    "plain": Account("sandbox", "sandbox", simulated=True),
}
TEXTS = {
    "upload-acme:own": "uploaded acme:own",
    "upload-acme:both": "uploaded acme:both",
    "report": "two brands",
    "videos": "holidays",
}
"""What the project's own assets make, as its IO manager writes it."""
ASSET_JOB = "__ASSET_JOB"
"""As Dagster calls what materializes assets without a job of their own."""
LOCATIONS = (NAME, "sora_pipeline.definitions")


@pytest.fixture
def sandboxes(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Sandbox]]:
    """A provider for each pipeline, each with a bill and keys of its own; the environment names them."""
    with ExitStack() as stack:
        made: dict[str, Sandbox] = {}
        for name in PROMPTS:
            state = tmp_path / "providers" / name
            settings = SandboxSettings(state_dir=state, shared_renders=True, **QUICK)
            endpoint = stack.enter_context(running_sandbox(settings))
            http = stack.enter_context(httpx.Client(base_url=endpoint.url, trust_env=False))
            made[name] = Sandbox(endpoint, http)
        for name in ("acme", "zeta"):
            monkeypatch.setenv(f"TWO_PIPELINES_{name.upper()}_URL", made[name].url)
            monkeypatch.setenv(f"TWO_PIPELINES_{name.upper()}_KEY", made[name].endpoint.api_key)
        monkeypatch.setenv("TWO_PIPELINES_FOLDER", str(tmp_path))
        monkeypatch.setenv("TWO_PIPELINES_CRON", cron_from_now())
        monkeypatch.setenv("SORA_BASE_URL", made["plain"].url)
        monkeypatch.setenv("SORA_API_KEY", made["plain"].endpoint.api_key)
        yield made


def cron_from_now() -> str:
    """The first time in one to two minutes, when the daemon has come up, then every three.

    Each reading is a run, and Dagster launches one run after the other: where a machine is so busy that this takes most of a
    minute, a reading a minute would leave no room for anything else.
    """
    return f"{(datetime.now(UTC) + timedelta(minutes=2)).minute % 3}-59/3 * * * *"


@contextmanager
def daemon(home: Path, folder: Path, locations: Sequence[str] = LOCATIONS) -> Iterator[None]:
    """A real daemon over these code locations; its log is shown where the test fails."""
    workspace, log = folder / "workspace.yaml", folder / "daemon.log"
    workspace.write_text("load_from:\n" + "".join(f"  - python_module: {each}\n" for each in locations))
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("dagster-daemon")), "run", "-w", str(workspace)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield
    except BaseException:
        print(log.read_text("utf-8", "replace")[-6000:])
        raise
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(what: str, done: Callable[[], Any], patience_s: float = PATIENCE_S) -> None:
    give_up = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < give_up, what
        time.sleep(0.5)


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sora_pipeline", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
        env={**os.environ, **environment},
    )


@contextmanager
def begun(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A command that works while the test goes on; it ends with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sora_pipeline", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()  # of no effect on one that has ended
        process.communicate()


@pytest.mark.timeout(1800)
def test_three_pipelines_produce_side_by_side(
    home: Path, sandboxes: dict[str, Sandbox], tmp_path: Path
) -> None:
    """One begins by its cron, one is asked for, one is run by the command line, which finds the daemon at work."""
    for name, prompts in PROMPTS.items():
        write_manifest(tmp_path / f"{name}.csv", rows_of(**prompts))
    prepare_home()
    ledger = Ledger(url_of_ledger(home))
    zeta = Plan("zeta", "zeta", str(tmp_path / "zeta.csv"), str(tmp_path / "zeta" / "zeta"), ACCOUNTS["zeta"])
    ledger.productions.request(zeta)
    sandboxes["zeta"].change(balance_usd=0)
    with dg.DagsterInstance.get() as instance, daemon(home, tmp_path):
        wait_for("the daemon shows itself", lambda: ledger.pipelines.seen(""))
        arguments = ["run", str(tmp_path / "plain.csv"), "--json", "--budget", "3"]
        with begun(*arguments) as plain:
            # While one is stopped, the others submit: one of the same code location, one of another.
            wait_for("zeta is stopped", lambda: ledger.breakers.get("zeta"))
            wait_for("acme is submitted", lambda: sandboxes["acme"].billed == 2)
            wait_for("plain is submitted", lambda: sandboxes["plain"].billed == 2)
            assert [each.account for each in ledger.breakers.all_open()] == ["zeta"]
            assert sandboxes["zeta"].billed == 0
            sandboxes["zeta"].change(balance_usd=100)
            resumed = command("resume", "--production", "zeta")
            assert resumed.stdout.startswith("submits go on: the account zeta\n"), (
                resumed.stdout + resumed.stderr
            )

            refused = command(*arguments, SORA_MODEL="sora-2")
            assert refused.returncode == 2, refused.stdout + refused.stderr
            assert "SORA_MODEL is sora-2 here and sora-2-pro there" in refused.stderr
            output, errors = plain.communicate(timeout=PATIENCE_S)
        assert plain.returncode == 0, output + errors
        said = json.loads(output)
        assert (said["counts"], said["spent_usd"], said["account"]) == ({"delivered": 2}, 2.4, "sandbox")

        wait_for("all is delivered", lambda: all(delivered(ledger, name) == 2 for name in PROMPTS))
        wait_for("everything is published", lambda: all(published(ledger, name) for name in PROMPTS))
        wait_for("the project's own assets follow", lambda: texts_of(tmp_path).keys() == TEXTS.keys())
        require_nothing_shared(instance, ledger, sandboxes, tmp_path)
    ledger.close()


def delivered(ledger: Ledger, production: str) -> int:
    made = ledger.attempts.of_production(production)
    return sum(attempt.state is AttemptState.COLLECTED for attempt in made)


def published(ledger: Ledger, production: str) -> bool:
    made = ledger.productions.get(production)
    return 0 < made.change_seq <= made.published_seq


def texts_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "texts").glob("*")}


def require_nothing_shared(
    instance: dg.DagsterInstance, ledger: Ledger, sandboxes: dict[str, Sandbox], folder: Path
) -> None:
    """Bills, outputs, budgets, accounts, partitions and runs: each pipeline has its own, and nothing else."""
    outputs = {"acme": folder / "acme" / "acme", "zeta": folder / "zeta" / "zeta", "plain": folder / "out" / "plain"}  # fmt: skip
    budgets = {"acme": 10, "zeta": 5, "plain": 3}
    for name, prompts in PROMPTS.items():
        assert sandboxes[name].bill()["by_prompt"] == dict.fromkeys(prompts.values(), 1)
        production = ledger.productions.get(name)
        assert (production.output_uri, production.budget_usd) == (str(outputs[name]), budgets[name])
        attempts = ledger.attempts.of_production(name)
        assert {attempt.account for attempt in attempts} == {ACCOUNTS[name]}
        rows = pq.read_table(outputs[name] / "metadata.parquet").to_pylist()
        assert {row["clip_id"]: row["prompt"] for row in rows} == prompts
        assert {(row["production"], row["account"], row["status"]) for row in rows} == {
            (name, ACCOUNTS[name].name, "delivered")
        }
        assert all((outputs[name] / row["file_name"]).is_file() for row in rows)
    partitions = {"acme_clips": "acme", "zeta_clips": "zeta", "sora_clips": "plain"}
    for clips, name in partitions.items():
        assert list(instance.get_dynamic_partitions(clips)) == [f"{name}:{clip}" for clip in PROMPTS[name]]
    require_own_runs(instance)
    require_own_assets(instance)
    assert texts_of(folder) == TEXTS


def require_own_runs(instance: dg.DagsterInstance) -> None:
    """Every run of a pipeline's job was asked for by that pipeline's own sensor or schedule."""
    runs = instance.get_runs()
    for run in runs:
        owner = next((name for name in ("acme_", "zeta_") if run.job_name.startswith(name)), "")
        asked_by = run.tags.get(REQUESTED_BY_TAG, "")
        assert asked_by.startswith(owner), (run.job_name, run.tags)
        assert RETRY_NUMBER_TAG not in run.tags
        origin = run.remote_job_origin
        assert origin is not None
        location = origin.repository_origin.code_location_origin.location_name
        built_in = run.job_name in ("prompt_manifest_job", "generations_job", "videos_job", "video_manifest_job")  # fmt: skip
        assert (location == "sora_pipeline.definitions") == built_in, (location, run.job_name)
        if built_in:
            assert asked_by in ("manifest_request_sensor", "dispatch_sensor", "poll_sensor", "publish_sensor")
        if run.status is dg.DagsterRunStatus.SUCCESS:
            # The project's executor starts a process for each step; ours do without.
            steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTING)
            assert bool(steps) == (run.job_name in ("holidays_job", ASSET_JOB)), run.job_name
    assert [run.job_name for run in runs].count("holidays_job") == 1
    failed = [run.job_name for run in runs if run.status is dg.DagsterRunStatus.FAILURE]
    assert set(failed) <= {"zeta_generations_job"}, "only where the balance was empty"
    assert "acme_manifest_schedule" in {run.tags.get(REQUESTED_BY_TAG) for run in runs}
    batches = [run.tags[BATCH_TAG] for run in runs if BATCH_TAG in run.tags]
    assert len(batches) == len(set(batches)), "no batch was requested twice"


def require_own_assets(instance: dg.DagsterInstance) -> None:
    """What was materialized: of each asset its own partitions."""
    for prefix, name in ((["brands", "acme"], "acme"), (["zeta"], "zeta"), ([], "plain")):
        for asset in ("generations", "videos"):
            # The project's own `videos`, whose key is that of the built-in pipeline's, has none.
            found = instance.get_materialized_partitions(dg.AssetKey([*prefix, asset]))
            assert found == {f"{name}:{clip}" for clip in PROMPTS[name]}
    assert instance.get_materialized_partitions(dg.AssetKey("upload")) == {"acme:own", "acme:both"}
    assert instance.get_latest_materialization_event(dg.AssetKey("report")) is not None
