"""Materializes assets as Dagster does, on a temporary instance against the running sandbox."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.names import CLIPS, RANGE_END_TAG, RANGE_START_TAG
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline_tests.conftest import Rows, Sandbox, ids, key, write_manifest


@dataclass
class Studio:
    """What a person can do in the UI, and what they see there."""

    instance: dg.DagsterInstance
    folder: Path

    @property
    def definitions(self) -> dg.Definitions:
        return VideoPipeline().definitions()

    def materialize(
        self,
        names: Sequence[str],
        clips: tuple[str, str] | None = None,
        *,
        tags: dict[str, str] | None = None,
        config: dict[str, Any] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """One run over these assets and, where they have partitions, this range of clips of ``prompts.csv``."""
        marks = dict(tags or {})
        if clips is not None:
            marks |= {RANGE_START_TAG: key(clips[0]), RANGE_END_TAG: key(clips[1])}
        definitions = self.definitions
        return dg.materialize(
            list(definitions.assets or []),
            selection=list(names),
            instance=self.instance,
            resources=dict(definitions.resources or {}),
            tags=marks,
            run_config={"ops": config} if config else None,
            raise_on_error=False,
        )

    def read(self, rows: Rows, name: str = "prompts.csv") -> dg.ExecuteInProcessResult:
        path = write_manifest(self.folder / name, rows)
        return self.read_file(path)

    def read_file(self, path: Path | str, **config: str) -> dg.ExecuteInProcessResult:
        return self.materialize(
            ["prompt_manifest"], config={"prompt_manifest": {"config": {"manifest": str(path), **config}}}
        )

    def colours(self, asset: str) -> dict[str, str | None]:
        """What the UI shows of every clip: MATERIALIZED, FAILED, or nothing."""
        partitions = self.instance.get_dynamic_partitions(CLIPS)
        found = (
            self.instance.get_status_by_partition(dg.AssetKey(asset), partitions, VideoPipeline().clips) or {}
        )
        statuses = [status.value if (status := found.get(each)) else None for each in partitions]
        return dict(zip(ids(partitions), statuses, strict=True))

    def events(self, asset: str, clip: str) -> list[dg.EventLogRecord]:
        """A clip's materializations of an asset, the newest first."""
        filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[key(clip)])
        return list(self.instance.fetch_materializations(filters, limit=50).records)

    def metadata(self, asset: str, clip: str) -> dict[str, Any]:
        materialization = self.events(asset, clip)[0].asset_materialization
        assert materialization is not None
        return {name: value.value for name, value in materialization.metadata.items()}

    def data_version(self, asset: str, clip: str) -> str | None:
        materialization = self.events(asset, clip)[0].asset_materialization
        assert materialization is not None
        return (materialization.tags or {}).get("dagster/data_version")


def sentence_of(result: dg.ExecuteInProcessResult) -> str:
    """Why the step failed, as the UI shows it."""
    failures = [event for event in result.all_events if event.is_step_failure]
    assert failures, "no step failed"
    data = failures[0].step_failure_data
    return str(data.user_failure_data.description if data.user_failure_data else data.error)


@pytest.fixture
def studio(
    sandbox: Sandbox,
    ledger: Ledger,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Studio:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    return Studio(instance, tmp_path)
