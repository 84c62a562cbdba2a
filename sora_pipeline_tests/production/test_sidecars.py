"""The JSON schema of sidecars, against sidecars as they are written."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.recovery.output_records import why_no_sidecar
from sora_pipeline_tests.conftest import Producer, keys

pytestmark = pytest.mark.anyio

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "docs" / "sidecar.schema.json").read_text("utf-8")
)


@pytest.fixture
async def sidecars(run_context: RunContext, production: Producer, tmp_path: Path) -> list[dict[str, Any]]:
    """Of a clip that has everything, of one that has little, and of one whose video was not what was asked for."""
    Image.new("RGB", (1280, 720), "red").save(tmp_path / "first.png")
    made = production(
        [
            {
                "clip_id": "all",
                "prompt": "a fox",
                "image": "first.png",
                "size": "1280x720",
                "campaign": "=now",
            },
            {"clip_id": "little", "prompt": "an owl", "image": "", "size": "", "campaign": ""},
            {
                "clip_id": "odd",
                "prompt": "[sandbox:wrong-size] a bear",
                "image": "",
                "size": "",
                "campaign": "",
            },
        ]
    )
    wanted = keys("all", "little", "odd")
    await ensure_predictions(run_context, wanted, batch_id="run", may_begin=True)
    await collect_videos(run_context, wanted, resume_timed_out=True)
    return read_sidecars(Path(made.output_uri))


def read_sidecars(output: Path) -> list[dict[str, Any]]:
    paths = sorted(output.glob(".sidecars/*/*.json"))
    assert [path.parent.name for path in paths] == ["all", "little", "odd"]
    return [json.loads(path.read_text("utf-8")) for path in paths]


async def test_every_sidecar_is_as_the_schema_says(sidecars: list[dict[str, Any]]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    for sidecar in sidecars:
        Draft202012Validator(SCHEMA).validate(sidecar)
        assert list(sidecar) == list(SCHEMA["properties"]), "the schema names every field, in this order"
        assert why_no_sidecar(sidecar) is None


async def test_schema_knows_what_is_no_sidecar(sidecars: list[dict[str, Any]]) -> None:
    validator = Draft202012Validator(SCHEMA)
    for wrong in (
        {"format": 2},
        {"width": "1280"},
        {"cost_usd": 1.2},
        {"file_name": "metadata.parquet"},
        {"sha256": "x"},
        {"surprise": 1},
    ):
        assert not validator.is_valid(sidecars[0] | wrong), wrong
    earlier = {name: value for name, value in sidecars[0].items() if name != "format"}
    assert validator.is_valid(earlier), "those of earlier versions do not say it"


def test_schema_has_an_id_that_leads_to_no_host() -> None:
    assert SCHEMA["$id"].startswith("urn:")
    assert all(field.get("description") for field in SCHEMA["properties"].values())
