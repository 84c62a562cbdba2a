"""A small world: a catalogue of two models, images that are there by name, and manifests written into tmp_path."""

import csv
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.clip import Size
from sora_pipeline.manifest.canonical import load_snapshot
from sora_pipeline.manifest.images import ImageFinding
from sora_pipeline.manifest.limits import ModelLimits
from sora_pipeline.manifest.reading import read_manifest
from sora_pipeline.manifest.snapshot import Snapshot

TALL, WIDE, FULL = Size(720, 1280), Size(1280, 720), Size(1024, 1792)
LIMITS = {
    "sora-2": ModelLimits((4, 8, 12), (TALL, WIDE), 200),
    "sora-2-pro": ModelLimits((4, 8, 12), (TALL, WIDE, FULL), 200),
}

Rows = list[dict[str, Any]]
WriteCsv = Callable[..., Path]


def image_is_there(image: str, size: Size) -> ImageFinding:
    if "missing" in image:
        return ImageFinding(problem="does not exist")
    return ImageFinding(sha256=hashlib.sha256(image.encode()).hexdigest())


def load(path: Path | str, **options: Any) -> Snapshot:
    defaults: dict[str, Any] = {
        "limits": LIMITS,
        "default_model": "sora-2",
        "simulated": True,
        "image_check": image_is_there,
    }
    return load_snapshot(read_manifest(str(path)), **{**defaults, **options})


def write_rows(path: Path, rows: Rows) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> WriteCsv:
    """Write rows as CSV and return the path."""
    return lambda *rows, name="prompts.csv": write_rows(tmp_path / name, list(rows))
