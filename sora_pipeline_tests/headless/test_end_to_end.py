"""The promise as a whole: one command, the real daemon, real processes, real files."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.names import CLIPS
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline_tests.conftest import (
    Sandbox,
    command,
    key,
    keys,
    lose_ledger,
    rows_of,
    url_of_ledger,
    write_manifest,
)
from sora_pipeline_tests.webhook import SECRET_PATH, Webhook

GREEN, RED = "MATERIALIZED", "FAILED"


def colours(asset: str) -> dict[str, str]:
    with dg.DagsterInstance.get() as instance:
        keys = instance.get_dynamic_partitions(CLIPS)
        found = instance.get_status_by_partition(dg.AssetKey(asset), keys, VideoPipeline().clips) or {}
        return {key: status.value for key, status in found.items() if status is not None}


@pytest.mark.timeout(700)
def test_run_delivers_what_it_can_and_says_what_it_could_not(
    home: Path, sandbox: Sandbox, webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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

    output = tmp_path / "out" / "prompts"
    assert said["output"] == str(output)
    rows = {row["clip_id"]: row for row in pq.read_table(output / "metadata.parquet").to_pylist()}
    assert {clip_id: row["status"] for clip_id, row in rows.items()} == {
        "fox": "delivered",
        "owl": "delivered",
        "refused": "failed",
        "blocked": "failed",
    }
    assert {rows["refused"]["error_kind"], rows["blocked"]["error_kind"]} == {"content_policy"}
    for clip_id in ("fox", "owl"):
        assert (output / rows[clip_id]["file_name"]).stat().st_size == rows[clip_id]["bytes"]
    assert sandbox.bill()["by_prompt"] == {"a fox": 1, "an owl": 1, "[sandbox:policy-late] a bear": 1}

    submitted = {"fox": GREEN, "refused": RED, "owl": GREEN, "blocked": GREEN}
    assert colours("generations") == {key(clip_id): colour for clip_id, colour in submitted.items()}
    assert colours("videos") == {key("fox"): GREEN, key("owl"): GREEN, key("blocked"): RED}

    finished = [each for each in webhook.texts if each.startswith("prompts ")]
    assert len(finished) == 1, "the daemon's sensor or the command, and not both"
    assert finished[0].startswith("prompts finished: 2 of 4 clips delivered, 3.60 sandbox USD")
    assert any(each.startswith("Run failed: generations_job: 1 clip") for each in webhook.texts)

    assert_nothing_is_paid_again_without_the_ledger(manifest, said, home, sandbox, webhook)

    retried = command("retry")
    assert retried.returncode == 0, retried.stderr
    assert "submitted again, for 2.40 sandbox USD: " in retried.stdout
    ledger = Ledger(url_of_ledger(home))
    assert sorted(ledger.clips.pending(3)) == keys("blocked", "refused")
    ledger.close()
    assert sandbox.billed == 3


def assert_nothing_is_paid_again_without_the_ledger(
    manifest: Path, said: dict[str, Any], home: Path, sandbox: Sandbox, webhook: Webhook
) -> None:
    """The ledger is lost and rebuilt, and so is the output manifest; the webhook is down meanwhile."""
    billed, output = sandbox.bill(), Path(said["output"])
    manifests = {path.name for path in output.iterdir() if path.is_file()}
    lose_ledger(home)
    for name in manifests:
        (output / name).unlink()
    rebuilt = command("ledger", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "2 delivered, 2 failed" in rebuilt.stdout
    assert "3.60 USD" in rebuilt.stdout
    for path in (output / ".snapshots").iterdir():
        path.unlink()
    webhook.answers, told = [500] * 20, len(webhook.told)
    again = command("run", str(manifest), "--json", "--timeout", "300")
    assert again.returncode == 1, again.stderr
    assert json.loads(again.stdout)["counts"] == said["counts"]
    assert json.loads(again.stdout)["spent_usd"] == said["spent_usd"]
    assert sandbox.bill() == billed
    assert {
        "metadata.parquet",
        "manifest.csv",
        "failed.csv",
        "finished.json",
        "gallery.html",
        ".sora-pipeline.json",
    } == manifests
    assert all((output / name).exists() for name in manifests)
    assert list((output / ".snapshots").iterdir())
    (complaint,) = (line for line in again.stderr.splitlines() if "SORA_NOTIFY_URL" in line)
    assert "127.0.0.1) answered HTTP 500" in complaint
    assert SECRET_PATH not in again.stderr
    assert len(webhook.told) == told
    webhook.answers = []
