"""The promise as a whole: one command, the real daemon, real processes, real files."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from sora_pipeline.assets.clips import clip_partitions
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import CLIPS
from sora_pipeline_tests.conftest import Sandbox, rows_of, url_of_ledger, write_manifest

GREEN, RED = "MATERIALIZED", "FAILED"


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "sora_pipeline", *arguments],
        capture_output=True,
        text=True,
        timeout=330,
        check=False,
        env=dict(os.environ),
    )


def colours(asset: str) -> dict[str, str]:
    with dg.DagsterInstance.get() as instance:
        keys = instance.get_dynamic_partitions(CLIPS)
        found = instance.get_status_by_partition(dg.AssetKey(asset), keys, clip_partitions) or {}
        return {key: status.value for key, status in found.items() if status is not None}


@pytest.mark.timeout(700)
def test_run_delivers_what_it_can_and_says_what_it_could_not(
    home: Path, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    manifest = write_manifest(
        tmp_path / "prompts.csv",
        rows_of(
            fox="a fox",
            refused="[sandbox:policy] an owl",
            owl="an owl",
            blocked="[sandbox:policy-late] a bear",
        ),
    )
    first = command("run", str(manifest), "--json", "--timeout", "300")
    assert first.returncode == 1, first.stdout + first.stderr
    said: dict[str, Any] = json.loads(first.stdout)
    assert said["counts"] == {"delivered": 2, "failed": 2}
    assert (said["exit_code"], said["stopped"], said["spent_usd"]) == (1, None, 3.6)
    assert "Traceback" not in first.stderr

    rows = {row["clip_id"]: row for row in pq.read_table(tmp_path / "out" / "metadata.parquet").to_pylist()}
    assert {clip_id: row["status"] for clip_id, row in rows.items()} == {
        "fox": "delivered",
        "owl": "delivered",
        "refused": "failed",
        "blocked": "failed",
    }
    assert {rows["refused"]["error_kind"], rows["blocked"]["error_kind"]} == {"content_policy"}
    for clip_id in ("fox", "owl"):
        assert (tmp_path / "out" / rows[clip_id]["file_name"]).stat().st_size == rows[clip_id]["bytes"]
    assert sandbox.bill()["by_prompt"] == {"a fox": 1, "an owl": 1, "[sandbox:policy-late] a bear": 1}

    assert colours("generations") == {"fox": GREEN, "refused": RED, "owl": GREEN, "blocked": GREEN}
    assert colours("videos") == {"fox": GREEN, "owl": GREEN, "blocked": RED}

    retried = command("retry")
    assert retried.returncode == 0, retried.stderr
    assert "submitted again, each at its price: " in retried.stdout
    ledger = Ledger(url_of_ledger(home))
    assert sorted(ledger.clips.pending(3)) == ["blocked", "refused"]
    ledger.close()
    assert sandbox.billed == 3
