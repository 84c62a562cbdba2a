from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sora_pipeline.clip import Size
from sora_pipeline.manifest.images import ImageFinding
from sora_pipeline.manifest.snapshot_parquet import snapshot_from_parquet, snapshot_to_parquet
from sora_pipeline_tests.manifest.conftest import WriteCsv, load


def test_a_snapshot_survives_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "zeta": [1, 2, None],
            "prompt": ["a 猫", "b", None],
            "status": ["x", "y", "z"],
            "image": ["a.png", None, "missing.png"],
            "takes": [2, None, None],
            "alpha": [["t"], [], None],
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    snapshot = load(tmp_path / "m.parquet")
    assert (len(snapshot.clips), len(snapshot.invalid), len(snapshot.problems)) == (3, 1, 2)
    assert snapshot.carried_columns == ("zeta", "alpha")
    assert snapshot_from_parquet(snapshot_to_parquet(snapshot)) == snapshot


def test_a_snapshot_without_valid_rows_survives_parquet(manifest: WriteCsv) -> None:
    snapshot = load(manifest({"prompt": "", "x": "1"}))
    assert snapshot_from_parquet(snapshot_to_parquet(snapshot)) == snapshot


def test_parquet_of_another_kind_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a"]}), tmp_path / "m.parquet")
    with pytest.raises(ValueError, match="version none"):
        snapshot_from_parquet((tmp_path / "m.parquet").read_bytes())


def test_the_content_hash_changes_with_rows_and_image_bytes_only(manifest: WriteCsv) -> None:
    def other_bytes(image: str, size: Size) -> ImageFinding:
        return ImageFinding(sha256="0" * 64)

    row = {"prompt": "a", "image": "a.png", "project": "p"}
    path = manifest(row)
    before = load(path)
    assert load(path).snapshot_sha256 == before.snapshot_sha256
    saved_again = load(manifest({**row, "duration": "4", "status": "old"}))
    assert saved_again.manifest_sha256 != before.manifest_sha256
    assert saved_again.snapshot_sha256 == before.snapshot_sha256
    manifest(row)
    assert load(path, image_check=other_bytes).snapshot_sha256 != before.snapshot_sha256
    assert load(manifest({**row, "project": "q"})).snapshot_sha256 != before.snapshot_sha256
    assert load(manifest(row, {"prompt": "", "duration": "8"})).snapshot_sha256 != before.snapshot_sha256


def test_an_image_check_that_breaks_is_not_hidden(manifest: WriteCsv) -> None:
    def broken(image: str, size: Size) -> ImageFinding:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        load(manifest({"prompt": "a", "image": "a.png"}), image_check=broken)
