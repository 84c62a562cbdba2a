"""Hosts of images and manifests that fail for a while, or for good: what is paid for stays in sight, and nothing is paid again."""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sora_pipeline.cli.app import app
from sora_pipeline.clip import Size
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.manifest.images import FAILURES_IN_A_ROW, ImageCheck, ImageFinding, Images, Wanted
from sora_pipeline.media.fitted_images import FittedImages
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.health import SPEND, examine
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.uris import Uri
from sora_pipeline_tests.assets.conftest import Studio, sentence_of, studio
from sora_pipeline_tests.attacks.file_host import CUT, FileHost, running_file_host
from sora_pipeline_tests.conftest import (
    Producer,
    Sandbox,
    ids,
    keys,
    other_run,
    settings_of,
    standing,
    write_manifest,
)
from sora_pipeline_tests.media.conftest import encoded, picture

__all__ = ["studio"]  # a fixture
pytestmark = pytest.mark.anyio

FIRST = encoded(picture(720, 1280))
SECOND = encoded(picture(720, 1280).rotate(180))


@pytest.fixture
def host() -> Iterator[FileHost]:
    with running_file_host() as host:
        host.files |= {"/fox.png": FIRST, "/owl.png": SECOND}
        yield host


def rows(host: FileHost, **changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Three rows, some of them changed: two with an image, the third with that of the first."""
    images = {"fox": "/fox.png", "owl": "/owl.png", "cub": "/fox.png"}
    made = {
        name: {"clip_id": name, "prompt": f"a {name}", "image": host.url(path), "takes": "", "note": ""}
        for name, path in images.items()
    }
    return [{**row, **changes.get(name, {})} for name, row in made.items()]


def published(ledger: Ledger, made: Production) -> dict[str, dict[str, Any]]:
    assert publish(ledger, made.production_id, settings_of(), "publisher") is not None
    return {row["clip_id"]: row for row in pq.read_table(f"{made.output_uri}/metadata.parquet").to_pylist()}


def statuses(ledger: Ledger, made: Production) -> dict[str, str]:
    return {clip_id: row["status"] for clip_id, row in published(ledger, made).items()}


async def make(run_context: RunContext, *clip_ids: str, owner: str = "run-1") -> None:
    context = replace(other_run(run_context, owner), images=FittedImages())
    await ensure_predictions(context, keys(*clip_ids), batch_id=owner, may_begin=True)
    await collect_videos(context, keys(*clip_ids), resume_timed_out=False)


@pytest.mark.parametrize("trouble", [503, 500, 429, 408, CUT])
async def test_a_host_that_fails_for_now_changes_nothing_that_was_read(
    host: FileHost, run_context: RunContext, production: Producer, sandbox: Sandbox, trouble: int | str
) -> None:
    ledger = run_context.ledger
    made = production(rows(host))
    await make(run_context, "fox")
    before = published(ledger, made)
    fingerprints = {clip_id: row["fingerprint"] for clip_id, row in before.items()}
    host.broken["*"] = trouble
    production(rows(host, fox={"note": "other columns may change"}))
    after = published(ledger, made)
    assert {clip_id: row["status"] for clip_id, row in after.items()} == {
        "fox": "delivered",
        "owl": "pending",
        "cub": "pending",
    }
    assert {clip_id: row["fingerprint"] for clip_id, row in after.items()} == fingerprints
    assert (after["fox"]["file_name"], after["fox"]["cost_usd"]) == (before["fox"]["file_name"], 1.2)
    assert after["fox"]["note"] == "other columns may change"
    host.broken.clear()
    production(rows(host))
    assert published(ledger, made) == before
    assert sandbox.billed == 1


async def test_a_host_that_is_back_within_the_reading_is_not_noticed(
    host: FileHost, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    real, asked = host.files.get, []

    def recovers(path: str) -> bytes | None:
        asked.append(path)
        if len(asked) == 2:
            host.broken.clear()
        return real(path)

    host.broken["*"] = 503
    monkeypatch.setattr(host, "files", type("Files", (), {"get": staticmethod(recovers)})())
    made = production(rows(host))
    assert set(statuses(ledger, made).values()) == {"pending"}


async def test_a_new_row_whose_image_fails_for_now_is_taken_at_the_next_reading(
    host: FileHost, run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    host.broken["/owl.png"] = 503
    made = production(rows(host))
    shown = published(ledger, made)
    assert {clip_id: row["status"] for clip_id, row in shown.items()} == {
        "fox": "pending",
        "owl": "invalid",
        "cub": "pending",
    }
    said = shown["owl"]["error_message"]
    assert "HTTP 503" in said
    assert "read the manifest again when that has passed" in said
    host.broken.clear()
    production(rows(host))
    assert statuses(ledger, made)["owl"] == "pending"


async def test_a_changed_row_is_made_with_the_image_as_it_was_read(
    host: FileHost, run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    """Its image is known; whether it is still that is looked at before anything is sent."""
    ledger = run_context.ledger
    made = production(rows(host))
    await make(run_context, "fox")
    host.broken["*"] = 503
    production(rows(host, fox={"prompt": "a red fox"}, owl={"takes": "2"}))
    assert statuses(ledger, made) == {
        "fox": "pending",
        "owl": "pending",
        "owl-t2": "pending",
        "cub": "pending",
    }
    assert published(ledger, made)["fox"]["cost_usd"] == 1.2
    host.broken.clear()
    host.files["/fox.png"] = SECOND
    await make(run_context, "fox", owner="run-2")
    assert sandbox.billed_for("a red fox") == 0
    assert "has changed since the manifest was read" in standing(ledger, "fox").latest.why  # type: ignore[union-attr]


async def test_an_image_that_is_deleted_after_delivery_hides_no_video_and_no_bill(
    host: FileHost, run_context: RunContext, production: Producer, sandbox: Sandbox
) -> None:
    ledger = run_context.ledger
    made = production(
        rows(host, cub={"image": host.url("/owl.png"), "prompt": "[sandbox:no-resource] a cub"})
    )
    await make(run_context, "fox")
    await ensure_predictions(other_run(run_context), keys("cub"), batch_id="b", may_begin=True)
    before = published(ledger, made)
    host.files.clear()
    production(rows(host, cub={"image": host.url("/owl.png"), "prompt": "[sandbox:no-resource] a cub"}))
    after = published(ledger, made)
    assert {clip_id: row["status"] for clip_id, row in after.items()} == {
        "fox": "delivered",
        "owl": "invalid",
        "cub": before["cub"]["status"],
    }
    assert "HTTP 404" in after["owl"]["error_message"] or "does not exist" in after["owl"]["error_message"]
    assert after["fox"] == before["fox"]
    (spend,) = [verdict for verdict in examine(ledger, made, every_hash=False) if verdict.name == SPEND]
    assert spend.healthy, spend.sentence
    assert sandbox.billed == 2


async def test_a_changed_row_without_its_image_is_invalid_though_it_was_delivered(
    host: FileHost, run_context: RunContext, production: Producer
) -> None:
    made = production(rows(host))
    await make(run_context, "fox")
    host.files.clear()
    production(rows(host, fox={"prompt": "a red fox"}))
    assert statuses(run_context.ledger, made)["fox"] == "invalid"


async def test_amended_rows_stand_while_the_host_fails(
    host: FileHost, run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    """The campaign's own row is what it was, although its image cannot be read: no reason to drop the mended one."""
    ledger = run_context.ledger
    made = production(rows(host, fox={"prompt": "[sandbox:policy] a fox"}))
    await make(run_context, "fox")
    published(ledger, made)
    mended = [{**rows(host)[0], "prompt": "a kind fox", "production": "prompts", "error_message": ""}]
    production.read(write_manifest(tmp_path / "mended.csv", mended))
    await make(run_context, "fox", owner="run-2")
    for files, answer in [(dict(host.files), 503), ({}, 404)]:
        host.files, host.broken["*"] = files, answer
        production(rows(host, fox={"prompt": "[sandbox:policy] a fox"}))
        assert statuses(ledger, made)["fox"] == "delivered"
        assert standing(ledger, "fox").clip.prompt == "a kind fox"
        production.read(tmp_path / "mended.csv")
        assert statuses(ledger, made)["fox"] == "delivered", "the mended file itself can be read again"


async def test_two_productions_with_equal_ids_know_nothing_of_each_others_images(
    host: FileHost, run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    production(rows(host))
    await make(run_context, "fox")
    host.broken["*"] = 503
    other = production(rows(host), file="other.csv", name="other")
    assert set(statuses(ledger, other).values()) == {"invalid"}
    assert ids(ledger.clips.standings_of("other")) == []


async def test_a_snapshot_that_is_gone_does_not_matter(
    host: FileHost, run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    made = production(rows(host))
    await make(run_context, "fox")
    shutil.rmtree(f"{made.output_uri}/.snapshots")
    host.broken["*"] = 503
    production(rows(host))
    assert statuses(ledger, made) == {"fox": "delivered", "owl": "pending", "cub": "pending"}


async def test_a_row_that_comes_back_is_recognised(
    host: FileHost, run_context: RunContext, production: Producer
) -> None:
    ledger = run_context.ledger
    made = production(rows(host))
    await make(run_context, "fox")
    production(rows(host)[1:])
    host.broken["*"] = 503
    production(rows(host))
    assert statuses(ledger, made)["fox"] == "delivered"


# ---- what people are told


def test_the_asset_and_check_say_which_rows_stand(host: FileHost, studio: Studio, tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "prompts.csv", rows(host))
    assert studio.read_file(path).success
    host.broken["*"] = 503
    result = studio.read_file(path)
    assert result.success
    (materialized,) = result.asset_materializations_for_node("prompt_manifest")
    noted = materialized.metadata["images_not_read"]
    assert isinstance(noted, dg.TableMetadataValue)
    assert [record.data["clip"] for record in noted.records] == ["fox", "owl", "cub"]
    checked = CliRunner().invoke(app, ["check", str(path), "--json"])
    assert checked.exit_code == 0
    said = json.loads(checked.stdout)
    assert (said["clips"], said["invalid_rows"]) == (3, 0)
    assert {image["row"] for image in said["images_not_read"]} == {2, 3, 4}
    spoken = CliRunner().invoke(app, ["check", str(path)]).stderr
    assert "row 2 (fox): its image cannot be used now" in spoken
    assert "HTTP 503" in spoken
    assert "what was read before stands" in spoken


@pytest.mark.parametrize("trouble", [500, 503, 404, CUT])
def test_a_manifest_host_that_fails_changes_nothing(
    host: FileHost, studio: Studio, ledger: Ledger, trouble: int | str, tmp_path: Path
) -> None:
    local = write_manifest(tmp_path / "prompts.csv", rows(host))
    host.files["/prompts.csv"] = local.read_bytes()
    assert studio.read_file(host.url("/prompts.csv")).success
    before = ledger.productions.get("prompts")
    wanted = ledger.clips.of_production("prompts")
    host.broken["/prompts.csv"] = trouble
    result = studio.read_file(host.url("/prompts.csv"))
    assert not result.success
    assert "/prompts.csv" in sentence_of(result)
    after = ledger.productions.get("prompts")
    assert after.error == sentence_of(result)
    assert (after.snapshot_sha256, after.change_seq) == (before.snapshot_sha256, before.change_seq)
    assert ledger.clips.of_production("prompts") == wanted
    host.broken.clear()
    assert studio.read_file(host.url("/prompts.csv")).success
    assert ledger.productions.get("prompts").error is None


# ---- one owner of repetitions, bounded in all

TALL = Size(720, 1280)


def check_images(
    wanted: Sequence[Wanted], check: ImageCheck, workers: int, waits_s: Sequence[float] | None = None
) -> dict[Wanted, ImageFinding]:
    """What is found out about images."""
    images = Images()
    for each in wanted:
        images.want(each)
    images.check(check, workers, waits_s)
    return {each: images.finding(each) for each in wanted}


def test_a_dead_host_with_ten_thousand_images_is_asked_a_few_times() -> None:
    asked: list[str] = []

    def down(image: str, size: Size) -> ImageFinding:
        asked.append(image)
        return ImageFinding(problem="timed out", passing=True)

    wanted = [(Uri(f"https://dead.example/{number}.png"), TALL) for number in range(10_000)]
    findings = check_images(wanted, down, 16, waits_s=(0, 0))
    assert len(findings) == len(wanted)
    assert all(finding.passing for finding in findings.values())
    assert len(asked) <= 3 * (FAILURES_IN_A_ROW + 16)


def test_a_dead_host_keeps_no_other_from_being_read() -> None:
    def half(image: str, size: Size) -> ImageFinding:
        if "dead" in image:
            return ImageFinding(problem="timed out", passing=True)
        return ImageFinding(sha256="0" * 64)

    wanted = [
        (Uri(f"https://{name}.example/{number}.png"), TALL)
        for number in range(500)
        for name in ("dead", "well")
    ]
    findings = check_images(wanted, half, 16, waits_s=(0, 0))
    assert {image.split(".")[0]: finding.passing for (image, _), finding in findings.items()} == {
        "https://dead": True,
        "https://well": False,
    }


def test_what_fails_for_good_is_asked_for_once() -> None:
    asked: list[str] = []

    def gone(image: str, size: Size) -> ImageFinding:
        asked.append(image)
        return ImageFinding(problem="does not exist")

    check_images(
        [(Uri(f"https://well.example/{number}.png"), TALL) for number in range(50)], gone, 16, waits_s=(0, 0)
    )
    assert len(asked) == 50


def test_many_dead_hosts_take_no_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that runs ahead: every failure takes 50 seconds, as a host does that swallows packets."""
    from sora_pipeline.manifest import images

    now = timedelta()

    class Ahead:
        sleep = staticmethod(lambda _: None)

        @staticmethod
        def monotonic() -> float:
            return now.total_seconds()

    monkeypatch.setattr(images, "time", Ahead)
    asked: list[str] = []

    def slow(image: str, size: Size) -> ImageFinding:
        nonlocal now
        asked.append(image)
        if "well" in image:
            return ImageFinding(sha256="0" * 64)
        now += timedelta(seconds=50)
        return ImageFinding(problem="timed out", passing=True)

    wanted = [(Uri("https://well.example/0.png"), TALL)]
    wanted += [(Uri(f"https://dead-{number}.example/a.png"), TALL) for number in range(10_000)]
    wanted += [(Uri("https://well.example/1.png"), TALL)]
    findings = check_images(wanted, slow, 1)
    assert findings[wanted[-1]].sha256, "a host that answered is asked all the same"
    assert len(asked) < 100
