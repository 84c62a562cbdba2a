"""Rows in, rows out: a manifest of prompts becomes checked clips, and outcomes become the output manifest.

Knows neither Dagster nor providers, the ledger or media: limits and image checks come in as parameters.
"""

from sora_pipeline.manifest.canonical import load_snapshot
from sora_pipeline.manifest.images import ImageCheck, ImageFinding
from sora_pipeline.manifest.limits import Limits, ModelLimits
from sora_pipeline.manifest.output import (
    SCHEMA_VERSION,
    SCHEMA_VERSION_KEY,
    output_schema,
    output_table,
    write_parquet,
)
from sora_pipeline.manifest.output_csv import failed_csv, write_csv
from sora_pipeline.manifest.problems import ManifestProblem, RowProblem
from sora_pipeline.manifest.reading import ManifestFile, RawRow, read_manifest
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet, snapshot_to_parquet

__all__ = [
    "load_snapshot",
    "Snapshot",
    "InvalidRow",
    "ManifestProblem",
    "RowProblem",
    "ImageCheck",
    "ImageFinding",
    "Limits",
    "ModelLimits",
    "snapshot_to_parquet",
    "snapshot_from_parquet",
    "output_table",
    "output_schema",
    "write_parquet",
    "write_csv",
    "failed_csv",
    "SCHEMA_VERSION",
    "SCHEMA_VERSION_KEY",
    "read_manifest",
    "ManifestFile",
    "RawRow",
]
