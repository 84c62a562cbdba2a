"""PostgreSQL goes down in the middle of a production, with the ledger and all that Dagster knows."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline_tests.cluster import Cluster
from sora_pipeline_tests.conftest import USD, Sandbox, rows_of, write_manifest

CLIPS = [f"clip-{number}" for number in range(12)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def postgres_url(cluster: Cluster) -> str:
    """The home's storage is in the server that goes down."""
    return cluster.url


def wait_for(condition: Callable[[], bool], running: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.services
@pytest.mark.timeout(500)
def test_server_that_crashes_again_and_again_costs_nothing(
    home: Path, cluster: Cluster, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    monkeypatch.setenv("SORA_BATCH_SIZE", "6")
    monkeypatch.setenv("SORA_SUBMITS_PER_MINUTE", "120")  # slow enough to be interrupted
    monkeypatch.setenv("SORA_LEASE_S", "5")
    sandbox.change(render_s=3)
    manifest = write_manifest(
        tmp_path / "prompts.csv", rows_of(**{each: f"the prompt of {each}" for each in CLIPS})
    )
    command = [sys.executable, "-m", "sora_pipeline", "run", str(manifest), "--json", "--timeout", "400"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as running:
        for submitted in (2, 5, len(CLIPS)):  # twice amid submits, once amid renders and downloads
            wait_for(lambda enough=submitted: sandbox.billed >= enough, running)
            cluster.restart_at_once()
        told, problems = running.communicate(timeout=420)
    assert "Traceback" not in problems
    said = json.loads(told)
    assert said["stopped"] is None, problems
    counts = said["counts"]
    assert counts.get("delivered", 0) + counts.get("ambiguous", 0) == len(CLIPS), counts
    bill = sandbox.bill()
    assert max(bill["by_prompt"].values()) == 1, "something was paid twice"
    ledger = Ledger(cluster.url)
    made = ledger.attempts.of_production("prompts")
    ledger.close()
    accepted = sum((each.cost_usd for each in made if each.submission.accepted_at), Decimal(0))
    doubtful = sum((each.cost_usd for each in made if each.possibly_billed), Decimal(0))
    assert accepted <= bill["accepted"] * USD <= accepted + doubtful
    assert not [each for each in made if each.state in ("reserved", "submitting", "in_flight", "succeeded")]
