"""Real bytes: MP4 files made with PyAV, images made with Pillow."""

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image


def write_video(
    path: Path,
    *,
    width: int = 320,
    height: int = 576,
    seconds: float = 4,
    fps: int = 24,
    audio: bool = False,
    faststart: bool = False,
    noise: bool = False,
    preset: str = "ultrafast",
) -> Path:
    """An H.264 MP4 whose pattern moves, so that every packet carries something."""
    rng = np.random.default_rng(0)
    cell = 1 if noise else 16
    tiles = rng.integers(0, 255, (height // cell, width // cell, 3), dtype="u1")
    pattern = tiles.repeat(cell, 0).repeat(cell, 1)
    with av.open(str(path), "w", options={"movflags": "faststart"} if faststart else {}) as container:
        video = container.add_stream("libx264", rate=fps, options={"preset": preset})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = container.add_stream("aac", rate=44100, layout="mono") if audio else None
        frames = [
            av.VideoFrame.from_ndarray(np.roll(pattern, number * 5, 0), format="rgb24").reformat(
                format="yuv420p"
            )
            for number in range(8)
        ]
        for number in range(round(seconds * fps)):
            frame = frames[number % len(frames)]
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            for number in range(int(seconds * 44100) // 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), "f4"), format="fltp", layout="mono")
                silence.sample_rate, silence.pts = 44100, number * 1024
                container.mux(sound.encode(silence))
            container.mux(sound.encode())
    return path


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s, 320x576, 24 fps, with sound, the index at the end."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", audio=True)


@pytest.fixture(scope="session")
def faststart_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without sound, the index at the beginning."""
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", faststart=True)


def picture(width: int = 72, height: int = 128) -> Image.Image:
    """Red at the top left, green at the top right, blue at the bottom left, white at the bottom right."""
    image = Image.new("RGB", (width, height))
    for x, y, colour in ((0, 0, "red"), (1, 0, "lime"), (0, 1, "blue"), (1, 1, "white")):
        image.paste(
            colour,
            (x * width // 2, y * height // 2, width if x else width // 2, height if y else height // 2),
        )
    return image


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    """The image as a file's bytes."""
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def opened(content: bytes) -> Image.Image:
    """The bytes as an image, decoded."""
    image = Image.open(io.BytesIO(content))
    image.load()
    return image
