import base64
import io
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from sora_pipeline_tests.sandbox.conftest import FPS, Client


@pytest.fixture(autouse=True)
def real_renders(sandbox: Client) -> None:
    sandbox.change(shared_renders=False)


def opened(content: bytes) -> Any:
    import av

    return av.open(io.BytesIO(content))


def test_video_is_exactly_what_was_asked_for(sandbox: Client) -> None:
    content = sandbox.video("a lake", size="1280x720", duration=8)
    assert content.index(b"moov") < content.index(b"mdat")
    with opened(content) as video:
        stream = video.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.average_rate) == (1280, 720, FPS)
        assert video.duration == 8_000_000
        assert video.streams.audio[0].codec.name == "aac"
        assert len(list(video.decode(video=0))) == 8 * FPS


def test_prompts_look_different_and_pictures_move(sandbox: Client) -> None:
    import numpy as np

    def first_and_last(prompt: str) -> Any:
        with opened(sandbox.video(prompt)) as video:
            frames = list(video.decode(video=0))
            return [frame.to_ndarray(format="gray").astype(int) for frame in (frames[0], frames[-1])]

    fox, lake = first_and_last("a fox"), first_and_last("a lake")
    assert np.abs(fox[0] - lake[0]).mean() > 5
    assert np.abs(fox[0] - fox[1]).mean() > 1


def test_first_frame_is_the_image(sandbox: Client, picture: Callable[[int, int], bytes]) -> None:
    import numpy as np
    from PIL import Image

    image = picture(720, 1280)
    uri = "data:image/png;base64," + base64.b64encode(image).decode()
    with opened(sandbox.video(image=uri)) as video:
        first = next(video.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert np.abs(first - np.asarray(Image.open(io.BytesIO(image)))).mean() < 4


def test_output_answers_range_requests_and_needs_no_key(sandbox: Client) -> None:
    url = sandbox.wait(sandbox.accept())["outputs"][0]
    whole = httpx.get(url)
    part = httpx.get(url, headers={"Range": "bytes=10-19"})
    assert whole.headers["content-type"] == "video/mp4"
    assert int(whole.headers["content-length"]) == len(whole.content)
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole.content)}"
    assert sandbox.bill()["keys_leaked"] == 0


def test_key_sent_with_a_download_is_on_the_bill(sandbox: Client) -> None:
    url = sandbox.wait(sandbox.accept())["outputs"][0]
    sandbox.http.get(url)
    assert sandbox.bill()["keys_leaked"] == 1
