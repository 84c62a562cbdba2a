"""An output as the pipeline leaves it, made without a provider: what attackers and careless people then edit."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sora_pipeline.clip import Clip, Size
from sora_pipeline.manifest.snapshot import Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_to_parquet
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.production.intake import snapshot_path
from sora_pipeline.production.ownership import OWNER
from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import Uri
from sora_pipeline.video import VideoFacts
from sora_pipeline_tests.manifest.written import files_of

PRODUCTION = "monday"

PAID, UNPAID = ("a", "b"), "c"
MADE_AT = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass
class MadeOutput:
    """Two delivered clips, ``a`` and ``b``, and ``c``, which waits."""

    folder: Path

    def make(self) -> None:
        clips = tuple(
            Clip(
                name,
                number,
                f"clip {name}",
                None,
                None,
                "sora-2-pro",
                True,
                4,
                Size(720, 1280),
                carried={"of": "x"},
            )
            for number, name in enumerate([*PAID, UNPAID], 1)
        )
        snapshot = Snapshot(
            manifest_uri=Uri("/somewhere/monday.csv"),
            manifest_sha256="5" * 64,
            snapshot_sha256="6" * 64,
            clips=clips,
            carried_columns=("of",),
        )
        outcomes = [self._delivered(clip) for clip in clips[: len(PAID)]]
        self._write("metadata.parquet", files_of(snapshot, outcomes, PRODUCTION)["metadata.parquet"])
        self._write(snapshot_path(snapshot.snapshot_sha256), snapshot_to_parquet(snapshot))
        owner = {
            "format": 1,
            "production": PRODUCTION,
            "ledger_id": "another",
            "manifest": "/somewhere/monday.csv",
        }
        self._write(OWNER, json.dumps(owner).encode())

    def _delivered(self, clip: Clip) -> ClipOutcome:
        name = f"{clip.clip_id}/{clip.clip_id}-1-{'0' * 8}"
        content = clip.clip_id.encode() * 100
        facts = VideoFacts(
            len(content), "e" * 64, 720, 1280, 24.0, 96, 4.0, "h264", has_audio=True, c2pa=False
        )
        beside = {
            "production": PRODUCTION, "clip_id": clip.clip_id, "prompt": clip.prompt, "image": None, "image_sha256": None,
            "model": clip.model, "model_returned": clip.model, "account": "sandbox", "provider": "sandbox", "simulated": True,
            "prediction_id": f"id-of-{clip.clip_id}", "attempt": 1, "fingerprint": clip.fingerprint, "cost_usd": "1.2",
            "carried": dict(clip.carried), "file_name": f"videos/{name}.mp4", "poster_path": None, **asdict(facts),
        }  # fmt: skip
        self._write(f"videos/{name}.mp4", content)
        self._write(f".sidecars/{name}.json", json.dumps(beside).encode())
        return ClipOutcome(
            clip_id=clip.clip_id, status=ClipStatus.DELIVERED, file_name=f"videos/{name}.mp4", account="sandbox",
            provider="sandbox", prediction_id=f"id-of-{clip.clip_id}", attempts=1, submitted_at=MADE_AT, completed_at=MADE_AT,
            stored_at=MADE_AT, cost_usd=1.2, facts=facts,
        )  # fmt: skip

    def _write(self, name: str, content: bytes) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)

    # ---- what may be edited

    @property
    def owner(self) -> Path:
        return self.folder / OWNER

    @property
    def manifest(self) -> Path:
        return self.folder / "metadata.parquet"

    @property
    def snapshot(self) -> Path:
        (path,) = (self.folder / ".snapshots").iterdir()
        return path

    def sidecar(self, clip_id: str = "a") -> Path:
        (path,) = (self.folder / ".sidecars" / clip_id).iterdir()
        return path

    def edit_owner(self, **values: Any) -> None:
        _edit_json(self.owner, values)

    def edit_sidecar(self, **values: Any) -> None:
        """The sidecar of ``a``, in an output where nothing else tells of it."""
        self.manifest.unlink()
        _edit_json(self.sidecar(), values)

    def edit_rows(self, column: str, values: Iterable[Any], kind: pa.DataType | None = None) -> None:
        _edit_column(self.manifest, column, pa.array(list(values), kind))

    def edit_snapshot(self, column: str, values: Iterable[Any], kind: pa.DataType | None = None) -> None:
        _edit_column(self.snapshot, column, pa.array(list(values), kind))

    def edit_about(self, change: Callable[[dict[bytes, bytes]], Any]) -> None:
        """What a snapshot says of itself."""
        table = pq.read_table(self.snapshot)
        about = dict(table.schema.metadata)
        change(about)
        pq.write_table(table.replace_schema_metadata(about), self.snapshot)


def _edit_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _edit_column(path: Path, name: str, values: pa.Array) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, values), path)
