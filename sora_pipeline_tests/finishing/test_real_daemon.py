"""Two productions on a real daemon: both are shown while they go on, and what is downstream runs once for each, when it is done.

What is downstream is at work on the one while the other ends.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pyarrow.parquet as pq
import pytest

from sora_pipeline.headless.home import prepare_home
from sora_pipeline.ledger import Account, Ledger, Plan
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import QUICK, Sandbox, rows_of, settings_of, url_of_ledger, write_manifest
from sora_pipeline_tests.two_pipelines.test_real_daemon import daemon, wait_for

LOCATION = "sora_pipeline_tests.finishing.location"
ACCOUNT = Account("brand", "sandbox", simulated=True)
LONG = 24
"""Clips of the production that takes long: two slots keep it going for a minute, whatever its runs need to start."""
CLIPS = {
    "monday": {f"c{n}": f"monday's fox {n}" for n in range(4)},
    "tuesday": {**{f"c{n}": f"tuesday's owl {n}" for n in range(LONG)}, "bad": "[sandbox:policy] an owl"},
}
"""Equal ids; one production takes much longer than the other, and has a clip that is refused."""


@pytest.fixture
def provider(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A slow one: a production takes most of a minute."""
    settings = SandboxSettings(
        state_dir=tmp_path / "provider", shared_renders=True, **(QUICK | {"render_s": 5})
    )
    with running_sandbox(settings) as endpoint, httpx.Client(base_url=endpoint.url, trust_env=False) as http:
        monkeypatch.setenv("FINISHING_URL", endpoint.url)
        monkeypatch.setenv("FINISHING_KEY", endpoint.api_key)
        monkeypatch.setenv("FINISHING_FOLDER", str(tmp_path / "brand"))
        yield Sandbox(endpoint, http)


class Watched:
    """What there is to see of the productions, from outside.

    Attributes:
        on_the_way: Of each production, how many clips were delivered in each output manifest that was seen before its end.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.on_the_way: dict[str, set[int]] = {name: set() for name in CLIPS}

    def newsletters(self) -> list[dict[str, Any]]:
        path = self._folder / "newsletters.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def finished(self, name: str) -> dict[str, Any] | None:
        path = self._folder / name / "finished.json"
        return json.loads(path.read_text()) if path.exists() else None

    def is_at_work_on(self, name: str) -> bool:
        return (self._folder / f"at-work-on-{name}").exists()

    def statuses(self, name: str) -> list[str]:
        path = self._folder / name / "metadata.parquet"
        if not path.exists():
            return []
        # In one go: pyarrow opens a path more than once, and the file may be replaced in between.
        return list(pq.read_table(io.BytesIO(path.read_bytes())).column("status").to_pylist())

    def look(self) -> bool:
        """Note what is on the way; whether both have finished."""
        for name in CLIPS:
            if self.finished(name) is None and (statuses := self.statuses(name)):
                assert len(statuses) == len(CLIPS[name])
                self.on_the_way[name].add(statuses.count("delivered"))
        return all(self.finished(name) for name in CLIPS)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("postgres_url", ["sqlite"], indirect=True)
def test_downstream_runs_once_for_each_production_when_it_is_done(
    home: Path, provider: Sandbox, tmp_path: Path
) -> None:
    prepare_home()
    ledger, seen = Ledger(url_of_ledger(home)), Watched(tmp_path / "brand")
    for name, prompts in CLIPS.items():
        path = write_manifest(tmp_path / f"{name}.csv", rows_of(**prompts))
        ledger.productions.request(Plan(name, "brand", str(path), str(tmp_path / "brand" / name), ACCOUNT))
    # However slow the machine is, the one ends while what is downstream is at work on the other.
    ledger.paused.pause_production("tuesday")
    # The instance first: two processes must not make Dagster's storage at the same moment.
    with dg.DagsterInstance.get() as instance, daemon(home, tmp_path, [LOCATION]):
        wait_for("monday has finished", lambda: seen.look() or seen.finished("monday"))
        assert seen.finished("tuesday") is None
        wait_for("its newsletter is at work", lambda: seen.look() or seen.is_at_work_on("monday"))
        ledger.paused.resume_production("tuesday")
        wait_for("both have finished", seen.look)
        wait_for("both newsletters", lambda: len(seen.newsletters()) == 2)
        require_shown_on_the_way(seen)
        require_few_runs(instance)

        retry_clips(ledger, settings_of(account="brand"), ["tuesday"], ["bad"])
        assert seen.finished("tuesday") is None, "it goes on"
        wait_for("tuesday has finished again", lambda: seen.finished("tuesday"))
        wait_for("its newsletter", lambda: len(seen.newsletters()) == 3)
    assert [each["production"] for each in seen.newsletters()] == ["monday", "tuesday", "tuesday"]
    for each in seen.newsletters():
        assert each["statuses"].count("delivered") == (4 if each["production"] == "monday" else LONG)
        assert not {"pending", "in_flight"} & set(each["statuses"])
    assert provider.billed == 4 + LONG
    ledger.close()


def require_shown_on_the_way(seen: Watched) -> None:
    """Outputs have appeared while clips were still to come."""
    # The table is put in place just before the word that all is done: one may see the one, and not yet the other.
    assert any(0 < delivered < LONG for delivered in seen.on_the_way["tuesday"]), seen.on_the_way


def require_few_runs(instance: dg.DagsterInstance) -> None:
    """Showing what is on the way took no run of its own, and Dagster was told of two ends."""
    jobs = [run.job_name for run in instance.get_runs()]
    # Two ends, and what had changed where no run was at work for a moment, as it may be on a slow machine.
    assert jobs.count("brand_video_manifest_job") <= 6, jobs
    told = instance.fetch_materializations(dg.AssetKey(["brand", "video_manifest"]), limit=50).records
    assert len(told) == 2
