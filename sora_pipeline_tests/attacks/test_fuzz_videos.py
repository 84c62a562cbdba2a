"""Damaged copies of real videos: whatever the bytes are, it is a video or an error that says so."""

import io
from collections import Counter
from pathlib import Path

import av
import pytest

from sora_pipeline.clip import Size
from sora_pipeline.media.boxes import top_level_boxes
from sora_pipeline.media.poster import PosterError, poster_frame
from sora_pipeline.media.probe import VideoError, verify_video
from sora_pipeline_tests.attacks.mutation import BUDGET, damaged
from sora_pipeline_tests.media.conftest import write_video

SIZE = Size(64, 112)


def other_layout(video: Path, **options: str) -> bytes:
    """The same streams in a container that is laid out otherwise."""
    out = io.BytesIO()
    with av.open(str(video)) as source, av.open(out, "w", format="mp4", options=options) as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    return out.getvalue()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("seeds")
    shape = {"width": 64, "height": 112, "seconds": 1.0}
    sound = write_video(folder / "sound.mp4", audio=True, **shape)
    return {
        "with sound": sound.read_bytes(),
        "index first": write_video(folder / "first.mp4", faststart=True, **shape).read_bytes(),
        "fragmented": other_layout(sound, movflags="frag_keyframe+empty_moov+default_base_moof"),
        "fragment by fragment": other_layout(sound, movflags="frag_every_frame+empty_moov+delay_moov"),
    }


def test_the_seeds_are_whole(seeds: dict[str, bytes], tmp_path: Path):
    for name, content in seeds.items():
        path = tmp_path / "seed.mp4"
        path.write_bytes(content)
        assert verify_video(path, size=SIZE, duration=1).frames == 24, name
        assert poster_frame(path), name


@pytest.mark.timeout(0 if BUDGET > 1000 else 240)
def test_a_damaged_video_is_a_video_or_a_video_error(seeds: dict[str, bytes], tmp_path: Path):
    outcomes: Counter[str] = Counter()
    path = tmp_path / "damaged.mp4"
    for name, content in damaged(seeds, BUDGET):
        path.write_bytes(content)  # stays there when the process dies of it
        (tmp_path / "name.txt").write_text(name)
        outcomes[look(path, name)] += 1

    print(dict(outcomes))
    assert sum(outcomes.values()) == BUDGET


def look(path: Path, name: str) -> str:
    for box in top_level_boxes(path):
        assert box.size >= 8, name
    try:
        poster_frame(path)
        poster = "poster"
    except PosterError:
        poster = "no poster"
    except Exception as error:
        raise AssertionError(f"the poster of {name}") from error
    try:
        verify_video(path, size=SIZE, duration=1)
    except VideoError as problem:
        return f"{problem.kind}, {poster}"
    except Exception as error:
        raise AssertionError(name) from error
    return f"whole, {poster}"
