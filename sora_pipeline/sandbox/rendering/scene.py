"""What a video shows: a canvas larger than the frame that is panned over, and a caption strip; drawn once a clip.

All drawing happens before the first frame; a frame is then two slices, which is what makes rendering cheap.
"""

import hashlib
import random
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Plane = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    Planes = tuple[Plane, Plane, Plane]

MARGIN = 0.12  # of the frame's shorter side; how far the picture can travel


@dataclass(frozen=True, slots=True)
class Brief:
    """One video to be made.

    Attributes:
        caption: Short facts drawn below the prompt.
        seed: Decides colours, shapes and motion together with the prompt.
        image: The first frame's file, or None.
        out: Where the video goes.
    """

    prompt: str
    caption: str
    seed: str
    width: int
    height: int
    duration: int
    fps: int
    image: str | None
    out: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Pictures in YUV 4:2:0, ready to be sliced."""

    canvas: "Planes"
    strip: "Planes"
    ball: "Planes"
    travel: int
    direction: tuple[int, int]


def draw(brief: Brief) -> Scene:
    """Draw everything a clip needs."""
    rng = random.Random(hashlib.sha256(f"{brief.prompt}\0{brief.seed}".encode()).digest())
    travel = round(MARGIN * min(brief.width, brief.height)) // 2 * 2
    canvas = _photo(brief, travel) if brief.image else _painting(brief, travel, rng)
    hue = rng.random()
    side = min(brief.width, brief.height) // 8 // 2 * 2
    direction = rng.choice(((1, 0), (0, 1), (1, 1)))
    return Scene(
        _planes(canvas), _planes(_strip(brief)), _planes(_plain(side, _colour(hue))), travel, direction
    )


def _photo(brief: Brief, travel: int) -> "Image":
    """The image, mirrored beyond its right and lower edge, so that frame 0 is the image itself."""
    import numpy as np
    from PIL import Image

    with Image.open(Path(brief.image or "")) as picture:
        pixels = np.asarray(picture.convert("RGB").resize((brief.width, brief.height)))
    return Image.fromarray(np.pad(pixels, ((0, travel), (0, travel), (0, 0)), mode="symmetric"))


def _painting(brief: Brief, travel: int, rng: random.Random) -> "Image":
    """Soft shapes in the prompt's colours, painted small and enlarged."""
    from PIL import Image, ImageDraw, ImageFilter

    width, height = brief.width + travel, brief.height + travel
    small = (max(8, width // 8), max(8, height // 8))
    hue = rng.random()
    picture = Image.new("RGB", small, _colour(hue, 0.35))
    pen = ImageDraw.Draw(picture)
    for _ in range(14):
        radius = rng.uniform(0.08, 0.3) * min(small)
        x, y = rng.uniform(0, small[0]), rng.uniform(0, small[1])
        box = (x - radius, y - radius, x + radius, y + radius)
        colour = _colour(hue + rng.uniform(-0.15, 0.15) + rng.choice((0, 0.5)), rng.uniform(0.5, 0.95))
        rng.choice((pen.ellipse, pen.rectangle))(box, fill=colour)
    soft = picture.filter(ImageFilter.GaussianBlur(min(small) / 24))
    return soft.resize((width, height), Image.Resampling.BICUBIC)


def _strip(brief: Brief) -> "Image":
    """The prompt and the facts of the clip, white on black."""
    from PIL import Image, ImageDraw, ImageFont

    text_size = max(12, min(brief.width, brief.height) // 32)
    per_line = max(10, int(brief.width / (text_size * 0.6)))
    prompt = textwrap.wrap(" ".join(brief.prompt.split()), per_line, max_lines=3, placeholder=" ...")
    lines = [*prompt, *textwrap.wrap(brief.caption, per_line)]
    line_height = round(text_size * 1.4)
    height = min(brief.height, (len(lines) + 1) * line_height) // 2 * 2
    picture = Image.new("RGB", (brief.width, height), (16, 16, 20))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(text_size)
    for number, line in enumerate(lines):
        colour = (255, 255, 255) if number < len(prompt) else (160, 170, 180)
        position = (text_size, line_height // 2 + number * line_height)
        pen.text(position, line, font=font, fill=colour)
    return picture


def _plain(side: int, colour: tuple[int, int, int]) -> "Image":
    from PIL import Image

    return Image.new("RGB", (side, side), colour)


def _colour(hue: float, value: float = 0.9) -> tuple[int, int, int]:
    import colorsys

    red, green, blue = colorsys.hsv_to_rgb(hue % 1, 0.65, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _planes(picture: "Image") -> "Planes":
    """Luma and halved chroma in the limited range that video players expect."""
    import av
    import numpy as np

    frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24").reformat(format="yuv420p")

    def plane(index: int) -> "Plane":
        source: Any = frame.planes[index]
        rows: Plane = np.frombuffer(source, np.uint8).reshape(source.height, source.line_size)
        return rows[:, : source.width].copy()

    return plane(0), plane(1), plane(2)
