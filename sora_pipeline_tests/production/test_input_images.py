"""What a clip begins with is shown beside it, and never stands in the way of a delivery."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.input_images import input_image_name
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.uris import Uri
from sora_pipeline_tests.conftest import PROMPTS, Producer, keys, standing

pytestmark = pytest.mark.anyio


async def submit(run_context: RunContext, *clip_ids: str) -> None:
    await ensure_predictions(run_context, keys(*clip_ids), batch_id="batch", may_begin=True)


def begin_with(image: str, *clip_ids: str) -> list[dict[str, str]]:
    return [
        {"clip_id": each, "prompt": f"a fox, {each}", "image": image, "size": "720x1280"} for each in clip_ids
    ]


async def test_clips_that_begin_with_one_image_share_a_small_copy_of_it(
    run_context: RunContext, production: Producer, tmp_path: Path
) -> None:
    picture = tmp_path / "first.png"
    Image.new("RGB", (720, 1280), "red").save(picture)
    production(begin_with("first.png", "a", "b"))
    await submit(run_context, "a", "b")
    collected = await collect_videos(run_context, keys("a", "b"), resume_timed_out=True)
    assert set(collected.delivered) == set(keys("a", "b"))
    (copy,) = (tmp_path / "out" / PROMPTS / ".images").iterdir()
    assert copy.name == f"{hashlib.sha256(picture.read_bytes()).hexdigest()}.jpg"
    with Image.open(copy) as image:
        assert (image.format, image.size) == ("JPEG", (270, 480))


@pytest.mark.parametrize("change", ["gone", "changed"])
async def test_image_that_is_another_by_now_hinders_no_delivery_and_is_not_shown(
    run_context: RunContext, production: Producer, tmp_path: Path, change: str
) -> None:
    picture, said = tmp_path / "first.png", []
    Image.new("RGB", (720, 1280), "red").save(picture)
    production(begin_with("first.png", "a"))
    await submit(run_context, "a")
    if change == "gone":
        picture.unlink()
    else:
        Image.new("RGB", (720, 1280), "blue").save(picture)
    listening = replace(run_context, say=said.append)
    collected = await collect_videos(listening, keys("a"), resume_timed_out=True)
    assert set(collected.delivered) == set(keys("a"))
    assert not (tmp_path / "out" / PROMPTS / ".images").exists()
    assert any(".images" in sentence for sentence in said)


async def test_images_on_the_web_are_not_fetched_again(run_context: RunContext, production: Producer) -> None:
    production(begin_with("", "a"))
    clip = standing(run_context.ledger, "a").clip
    assert input_image_name(clip) is None
    local = replace(clip, image=Uri("/srv/a.png"), image_sha256="ab")
    assert input_image_name(local) == ".images/ab.jpg"
    assert input_image_name(replace(local, image=Uri("https://host/a.png"))) is None
