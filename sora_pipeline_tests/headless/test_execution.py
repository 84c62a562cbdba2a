"""Runs that a command executes in its own process."""

import subprocess
import sys

COMMAND = """
import os, signal, sys, time
import dagster as dg
from sora_pipeline.headless.execution import execute

@dg.op
def nothing(): ...

@dg.job
def job():
    nothing()

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell has it that puts a command into the background
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with dg.DagsterInstance.ephemeral() as instance:
    order = {"run_id": "2d7d8f7e-0000-4000-8000-000000000000", "job_name": "job", "run_config": {}, "tags": {}}
    assert execute(dg.Definitions(jobs=[job]), instance, **order) is None
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(30)
"""


def test_a_polite_kill_ends_a_command_in_the_background_after_its_first_run() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 7, ended.stderr
