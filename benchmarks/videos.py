"""Real videos for benchmarks: the sandbox's, such as cameras make, and damaged copies of small ones."""

import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from sora_pipeline.clip import Size
from sora_pipeline.sandbox.rendering.encode import render
from sora_pipeline.sandbox.rendering.scene import Brief

SIZES = (Size(720, 1280), Size(1280, 720), Size(1024, 1792), Size(1792, 1024))
SMALL = Size(160, 96)
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@dataclass(frozen=True, slots=True)
class Video:
    """A file, and what it is to be.

    Attributes:
        group: Those whose figures are shown together.
        kind: ``sandbox`` or ``grain``.
    """

    path: Path
    size: Size
    duration: int
    kind: str

    @property
    def group(self) -> str:
        pixels = "720p" if min(self.size.width, self.size.height) == 720 else "1792x1024"
        return f"{self.kind} {pixels} {self.duration} s"


def sandbox_video(folder: Path, size: Size, duration: int) -> Video:
    """As the sandbox delivers it: a panned picture, 24 frames a second, with sound."""
    path = folder / f"sandbox-{size}-{duration}.mp4"
    prompt = "a red fox trots along a snowy ridge at dawn"
    render(
        Brief(
            prompt=prompt,
            caption=f"sora-2-pro {size} {duration} s",
            seed="benchmark",
            width=size.width,
            height=size.height,
            duration=duration,
            fps=24,
            image=None,
            out=str(path),
        )
    )
    return Video(path, size, duration, "sandbox")


def grainy_video(folder: Path, size: Size, duration: int, **options: str) -> Video:
    """As a camera or a model would fill it: motion in all parts and grain, at x264's usual settings."""
    path = folder / f"grain-{size}-{duration}.mp4"
    rng, fps = np.random.default_rng(0), 30
    texture = _texture(rng, size.width + 400, size.height + 400)
    grain = [rng.integers(-5, 6, (size.height, size.width)).astype("i2") for _ in range(5)]
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(
            "libx264", rate=fps, options={"preset": "medium", "crf": "20", **options}
        )
        stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
        for number in range(duration * fps):
            turn = 5 * number / (duration * fps)
            x, y = int(200 + 190 * np.sin(turn)), int(200 + 190 * np.cos(turn))
            luma = texture[y : y + size.height, x : x + size.width] + grain[number % 5]
            colour = texture[y // 2 :, x // 2 :][: size.height // 2, : size.width // 2]
            planes = [plane.clip(0, 255).astype("u1").ravel() for plane in (luma, colour, 255 - colour)]
            content = np.concatenate(planes).reshape(size.height * 3 // 2, size.width)
            frame = av.VideoFrame.from_ndarray(content, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return Video(path, size, duration, "grain")


def _texture(rng: np.random.Generator, width: int, height: int) -> Any:
    """Noise of all sizes, in the range that videos have."""
    total = np.zeros((height, width), "f4")
    for cell in (4, 8, 16, 32, 64, 128):
        noise = Image.fromarray(rng.normal(size=(height // cell + 2, width // cell + 2)).astype("f4"))
        total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) * cell**0.7
    return (16 + 220 * (total - total.min()) / np.ptp(total)).astype("i2")


def damaged_copies(folder: Path, count: int) -> Iterator[Video]:
    """Small videos with a hole, foreign bytes or some other bits in their pictures; whatever holds the pictures is whole."""
    seeds = [
        sandbox_video(folder, SMALL, 1).path.read_bytes(),
        grainy_video(folder, SMALL, 1).path.read_bytes(),
        grainy_video(folder, SMALL, 1, g="6", slices="4").path.read_bytes(),
    ]
    seeds.append(_in_fragments(seeds[1]))
    where = [_pictures(content) for content in seeds]
    path = folder / "damaged.mp4"
    for number in range(count):
        rng = random.Random(number)
        content = bytearray(seeds[number % len(seeds)])
        start, size = rng.choice(where[number % len(seeds)])
        _damage(content, start, size, rng)
        path.write_bytes(content)
        yield Video(path, SMALL, 1, "damaged")


def _damage(content: bytearray, start: int, size: int, rng: random.Random) -> None:
    """Something in one picture, behind its first bytes: those say which picture it is."""
    at = start + min(size - 1, 8 + int(rng.random() * size))
    length = min(rng.choice((1, 16, 256, size)), start + size - at)
    match rng.choice(("zeros", "noise", "bit")):
        case "zeros":
            content[at : at + length] = bytes(length)
        case "noise":
            content[at : at + length] = rng.randbytes(length)
        case _:
            content[at] ^= 1 << rng.randrange(8)


def _pictures(content: bytes) -> Sequence[tuple[int, int]]:
    with av.open(io.BytesIO(content)) as container:
        return [(int(packet.pos or 0), packet.size) for packet in container.demux(video=0) if packet.size]


def _in_fragments(content: bytes) -> bytes:
    out = io.BytesIO()
    with (
        av.open(io.BytesIO(content)) as source,
        av.open(out, "w", format="mp4", options=_FRAGMENTS) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    return out.getvalue()
