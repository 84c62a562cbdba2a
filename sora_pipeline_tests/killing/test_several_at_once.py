"""Daemons of two pipelines on one home and ledger, and people who re-execute runs that are still at work: one submit a clip."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import Ledger
from sora_pipeline.production.publishing import publish
from sora_pipeline_tests.conftest import Producer, Sandbox
from sora_pipeline_tests.killing import second_pipeline
from sora_pipeline_tests.killing.referee import violations
from sora_pipeline_tests.killing.second_pipeline import ACCOUNTS, ACME, BUILT_IN, SANDBOX, pipeline_of

CLIP_IDS = [f"clip-{number:02}" for number in range(6)]
PRODUCTIONS = {"monday": BUILT_IN, "tuesday": BUILT_IN, "autumn": ACME}


@pytest.mark.timeout(180)
def test_daemons_of_two_pipelines_and_a_re_executed_run_submit_each_clip_once(
    home: Path,
    tmp_path: Path,
    sandbox: Sandbox,
    second_sandbox: Sandbox,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two daemons for one of the pipelines, and one for the other; all productions number their clips alike."""
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    monkeypatch.setenv(second_pipeline.URL, second_sandbox.url)
    monkeypatch.setenv(second_pipeline.KEY, second_sandbox.endpoint.api_key)
    monkeypatch.setenv("SORA_BATCH_SIZE", "3")
    made = {}
    with dg.DagsterInstance.get() as instance:
        for name, pipeline in PRODUCTIONS.items():
            rows = [
                {"clip_id": each, "prompt": f"{each} of {name}" + ("" if n % 3 else " [sandbox:slow-answer]")}
                for n, each in enumerate(CLIP_IDS)
            ]
            producer = Producer(tmp_path, ledger, instance)
            produced = producer(rows, file=f"{name}.csv", pipeline=pipeline, account=ACCOUNTS[pipeline])
            made[produced.production_id] = pipeline
    module = [sys.executable, "-m", "sora_pipeline_tests.killing.one_of_several"]
    # Over both productions of a pipeline: their partitions are neighbours.
    person = ["person", clip_key("monday", CLIP_IDS[0]), clip_key("tuesday", CLIP_IDS[-1])]
    roles = [*(["daemon", pipeline] for pipeline in (BUILT_IN, BUILT_IN, ACME)), person]
    processes = [
        subprocess.Popen([*module, *role], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for role in roles
    ]
    said = [process.communicate(timeout=150)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(roles), "\n".join(
        each[-2000:] for each in said
    )
    assert (sandbox.billed, second_sandbox.billed) == (2 * len(CLIP_IDS), len(CLIP_IDS))
    for production_id, pipeline in made.items():
        assert publish(ledger, production_id, pipeline_of(pipeline).settings, "judge") is not None
    bills = {SANDBOX: sandbox.bill(), ACME: second_sandbox.bill()}
    sound = [clip_key(production_id, each) for production_id in made for each in CLIP_IDS]
    with dg.DagsterInstance.get() as instance:
        assert violations(ledger, bills, instance=instance, sound=sound) == []
