"""What a row sets of a model's parameters, and prompts that are filled, all the way to the provider, the outputs and back."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.recovery.fingerprints import present_fingerprints
from sora_pipeline.recovery.output_evidence import OutputEvidence, clip_of_row, clip_of_sidecar
from sora_pipeline_tests.conftest import (
    Producer,
    Sandbox,
    ids,
    keys,
    latest,
    other_run,
    settings_of,
    standing,
    write_manifest,
)

pytestmark = pytest.mark.anyio

SEEDED = {
    "clip_id": "fox",
    "prompt": "a fox",
    "model": "wan-2.6",
    "duration": "5",
    "seed": "7",
    "negative_prompt": "=blur",
}


async def make(run_context: RunContext, *clip_ids: str, owner: str = "run-1") -> None:
    context, wanted = other_run(run_context, owner), keys(*clip_ids, production="monday")
    await ensure_predictions(context, wanted, batch_id=owner, may_begin=True)
    await collect_videos(context, wanted, resume_timed_out=False)


def published(ledger: Ledger, made: Production) -> dict[str, dict[str, Any]]:
    assert publish(ledger, made.production_id, settings_of(), "publisher") is not None
    return {row["clip_id"]: row for row in pq.read_table(f"{made.output_uri}/metadata.parquet").to_pylist()}


def failed_rows(made: Production) -> list[dict[str, str]]:
    with (Path(made.output_uri) / "failed.csv").open(newline="", encoding="utf-8-sig") as stream:
        return list(csv.DictReader(stream))


async def test_parameters_travel_to_the_provider_the_outputs_and_back(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    plain = {**SEEDED, "clip_id": "owl", "seed": "", "negative_prompt": ""}
    made = production([SEEDED, plain], file="monday.csv")
    await make(run_context, "fox", "owl")
    sent = latest(ledger, "fox", "monday").submission.request
    assert sent is not None
    assert sent["parameters"] == {"negative_prompt": "=blur", "seed": 7}
    assert "parameters" not in (latest(ledger, "owl", "monday").submission.request or {})

    rows = published(ledger, made)
    assert json.loads(rows["fox"]["parameters"]) == {"negative_prompt": "=blur", "seed": 7}
    assert (rows["fox"]["seed"], rows["fox"]["negative_prompt"]) == ("7", "=blur")
    assert rows["owl"]["parameters"] is None

    # What a lost ledger is put together from knows them, and the video for what it is.
    evidence = OutputEvidence(made.output_uri)
    for row in evidence.rows:
        assert row["fingerprint"] in present_fingerprints(clip_of_row(row))
        for sidecar in evidence.sidecars(row["clip_id"]):
            assert dict(clip_of_sidecar(sidecar).parameters) == dict(clip_of_row(row).parameters)

    production([SEEDED, plain], file="monday.csv")
    assert not ledger.clips.pending(3, "monday")
    production([{**SEEDED, "seed": "8"}, plain], file="monday.csv")
    assert ids(ledger.clips.pending(3, "monday")) == ["fox"]
    production([{**SEEDED, "seed": "7,0"}, plain], file="monday.csv")
    assert not ledger.clips.pending(3, "monday"), "the same number, however it is written"
    assert sandbox.billed == 2


async def test_a_failed_row_gives_its_parameters_back(run_context: RunContext, production: Producer) -> None:
    ledger = run_context.ledger
    made = production([{**SEEDED, "prompt": "[sandbox:policy] a fox"}], file="monday.csv")
    await make(run_context, "fox")
    published(ledger, made)
    production.read(Path(made.output_uri) / "failed.csv")
    assert not ledger.clips.pending(3, "monday")
    [failed] = failed_rows(made)
    production.read(write_manifest(production.folder / "mended.csv", [{**failed, "prompt": "a wolf"}]))
    clip = standing(ledger, "fox", "monday").clip
    assert (clip.prompt, dict(clip.parameters)) == ("a wolf", {"negative_prompt": "=blur", "seed": 7})


TEMPLATE = {"clip_id": "car", "prompt": "[sandbox:policy] A {color} car {{color}}", "color": "{red}"}


async def test_a_filled_prompt_is_not_filled_twice(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    made = production([TEMPLATE], file="monday.csv")
    await make(run_context, "car")
    prompt = "[sandbox:policy] A {red} car {color}"
    assert standing(ledger, "car", "monday").clip.prompt == prompt
    assert published(ledger, made)["car"]["prompt"] == prompt
    [failed] = failed_rows(made)
    assert failed["prompt"] == "[sandbox:policy] A {{red}} car {{color}}"
    production.read(Path(made.output_uri) / "failed.csv")
    assert not ledger.clips.pending(3, "monday"), "handed in as it is, it changes nothing"
    production.read(Path(made.output_uri) / "manifest.csv")
    assert standing(ledger, "car", "monday").clip.prompt == prompt, "and so does the output manifest"
    assert not ledger.clips.pending(3, "monday")
    mended = {**failed, "prompt": failed["prompt"].replace("[sandbox:policy] ", "")}
    production.read(write_manifest(production.folder / "mended.csv", [mended]))
    assert standing(ledger, "car", "monday").clip.prompt == "A {red} car {color}"
    assert ids(ledger.clips.pending(3, "monday")) == ["car"]


async def test_a_row_that_cannot_be_filled_is_mended_as_it_was_written(
    run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    made = production([{"clip_id": "car", "prompt": "A {colour} car", "color": "red"}], file="monday.csv")
    row = published(ledger, made)["car"]
    assert row["status"] == "invalid"
    assert row["error_message"].endswith("Did you mean {color}?")
    [failed] = failed_rows(made)
    assert failed["prompt"] == "A {colour} car"
    production.read(write_manifest(production.folder / "mended.csv", [{**failed, "prompt": "A {color} car"}]))
    assert standing(ledger, "car", "monday").clip.prompt == "A red car"


async def test_braces_that_were_paid_for_as_they_are_are_not_paid_for_again(
    run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    """As manifests were read before prompts were filled: the ledger has the prompt with its braces."""
    ledger = run_context.ledger
    rows = [
        {"clip_id": "a", "prompt": "a {{curly}} sign", "note": "x"},
        {"clip_id": "b", "prompt": "a {{note}} sign", "note": "x"},
    ]
    production(rows, file="monday.csv")
    await make(run_context, "a", "b")
    as_once = [{**row, "prompt": standing(ledger, row["clip_id"], "monday").clip.prompt} for row in rows]
    assert [row["prompt"] for row in as_once] == ["a {curly} sign", "a {note} sign"]
    production(as_once, file="monday.csv")
    assert len(ids(ledger.clips.standings_of("monday"))) == 2
    assert not ledger.clips.pending(3, "monday")
    assert sandbox.billed == 2
