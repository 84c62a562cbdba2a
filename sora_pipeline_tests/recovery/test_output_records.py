"""Files in an output may be anybody's: what is not as we write it is not believed, and it is said why."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sora_pipeline.recovery.output_records import why_no_row, why_no_sidecar

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FACTS = {"bytes": 9, "sha256": "ab", "width": 720, "height": 1280, "fps": 30.0, "frames": 120, "duration_s": 4.0,
         "video_codec": "h264", "has_audio": True, "c2pa": False}  # fmt: skip
RECORD = {"clip_id": "a", "prompt": "a fox", "image": None, "image_sha256": None, "model": "sora-2-pro", "model_returned": None,
          "provider": "gptproto", "prediction_id": "p", "poster_path": None, "file_name": "videos/a/a.mp4", **FACTS}  # fmt: skip
SIDECAR = {**RECORD, "attempt": 1, "fingerprint": "f", "cost_usd": "1.2000"}
ROW = {**RECORD, "status": "delivered", "size": "720x1280", "duration": 4, "take": None, "attempts": 1, "provider_status": None,
       "error_kind": None, "error_message": None, "retryable": None, "submitted_at": NOW, "completed_at": NOW, "stored_at": NOW,
       "cost_usd": 1.2, "fingerprint": "f", "run_id": None, "manifest_sha256": None, "row_number": 1, "of the user": [1]}  # fmt: skip


def test_what_we_write_is_believed() -> None:
    assert why_no_row(ROW) is None
    assert why_no_sidecar(SIDECAR) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("status", "weird"),
        ("size", "axb"),
        ("cost_usd", float("nan")),
        ("cost_usd", -500.0),
        ("cost_usd", 10.0**30),
        ("file_name", "../../../etc/passwd"),
        ("file_name", "/etc/passwd"),
        ("file_name", None),
        ("bytes", None),
        ("clip_id", "../../evil"),
        ("clip_id", "a:b"),
        ("prompt", None),
        ("stored_at", datetime(2026, 1, 2)),
        ("attempts", 10**30),
    ],
)
def test_row_that_we_did_not_write_is_not_believed(column: str, value: Any) -> None:
    assert column in (why_no_row({**ROW, column: value}) or "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("attempt", 10**30),
        ("attempt", "x"),
        ("attempt", 0),
        ("cost_usd", "abc"),
        ("cost_usd", "-9999999999999999999999"),
        ("cost_usd", "NaN"),
        ("file_name", "../x.mp4"),
        ("file_name", None),
        ("width", "w"),
        ("bytes", [1]),
        ("clip_id", 5),
        ("carried", []),
    ],
)
def test_sidecar_that_we_did_not_write_is_not_believed(field: str, value: Any) -> None:
    assert (why_no_sidecar({**SIDECAR, field: value}) or "").startswith(field)


def test_json_that_is_no_object_is_no_sidecar() -> None:
    assert why_no_sidecar([])  # type: ignore[arg-type]
