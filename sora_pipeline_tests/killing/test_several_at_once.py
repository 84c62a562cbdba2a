"""Two daemons on one home, and people who re-execute runs that are still at work: one submit a clip."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.production.publishing import publish
from sora_pipeline_tests.conftest import Producer, Sandbox, settings_of
from sora_pipeline_tests.killing.referee import violations

CLIP_IDS = [f"clip-{number:02}" for number in range(12)]


@pytest.mark.timeout(180)
def test_two_daemons_and_a_re_executed_run_submit_each_clip_once(
    home: Path, tmp_path: Path, sandbox: Sandbox, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    monkeypatch.setenv("SORA_BATCH_SIZE", "3")
    rows = [
        {"clip_id": each, "prompt": each if number % 3 else f"{each} [sandbox:slow-answer]"}
        for number, each in enumerate(CLIP_IDS)
    ]
    with dg.DagsterInstance.get() as instance:
        identity = Producer(tmp_path, ledger, instance)(rows).production_id
    module = [sys.executable, "-m", "sora_pipeline_tests.killing.one_of_several"]
    roles = [["daemon"], ["daemon"], ["person", CLIP_IDS[0], CLIP_IDS[-1]]]
    processes = [
        subprocess.Popen([*module, *role], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for role in roles
    ]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], "\n".join(
        each[-2000:] for each in said
    )
    assert sandbox.billed == len(CLIP_IDS)
    assert publish(ledger, identity, settings_of(), "judge") is not None
    assert violations(ledger, identity, sandbox.bill(), sound=CLIP_IDS) == []
