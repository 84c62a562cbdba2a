"""Draws the example images and writes the example manifest, as CSV and as Parquet.

Run with ``python data/make_examples.py``. Deterministic: the same versions of Pillow and pyarrow write the same bytes.
Every image is exactly as large as its clip, because SORA_IMAGE_FIT is ``error`` by default. Prompts and pictures show
no people, no brands and no text, so that no provider's content rules stand in the way.
"""

import csv
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa  # noqa: TID253 - a script of its own, which no run worker imports
import pyarrow.parquet as pq  # noqa: TID253
from PIL import Image, ImageChops, ImageDraw, ImageFilter  # noqa: TID253

HERE = Path(__file__).parent
SMOOTH = 2  # everything is drawn this many times as large, then reduced: Pillow draws hard edges

Colour = tuple[int, int, int]
Point = tuple[float, float]


class Picture:
    """A canvas whose coordinates are fractions of its width and height, (0, 0) at the top left."""

    def __init__(self, width: int, height: int, sky: Sequence[tuple[float, Colour]]) -> None:
        self.final_size = (width, height)
        self.size = (width * SMOOTH, height * SMOOTH)
        self.image = gradient(self.size, sky)

    def at(self, x: float, y: float) -> Point:
        """Fractions to pixels."""
        return x * self.size[0], y * self.size[1]

    def mask(self, draw: Callable[[ImageDraw.ImageDraw], None], blur: float = 0.0) -> Image.Image:
        """What a drawing in white covers; ``blur`` is a fraction of the width."""
        mask = Image.new("L", self.size, 0)
        draw(ImageDraw.Draw(mask))
        return blurred(mask, blur * self.size[0])

    def fill(self, mask: Image.Image, stops: Sequence[tuple[float, Colour]], opacity: float = 1.0) -> None:
        """Lay a vertical gradient over what the mask covers."""
        self.image.paste(gradient(self.size, stops), mask=mask.point(lambda value: int(value * opacity)))

    def shape(
        self, points: Sequence[Point], *stops: tuple[float, Colour], blur: float = 0.0, opacity: float = 1.0
    ) -> None:
        """A filled polygon."""
        pixels = [self.at(x, y) for x, y in points]
        self.fill(self.mask(lambda draw: draw.polygon(pixels, fill=255), blur), stops, opacity)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        *stops: tuple[float, Colour],
        blur: float = 0.0,
        opacity: float = 1.0,
    ) -> None:
        """An ellipse; both radii are fractions of the width."""
        self.fill(self.oval(x, y, rx, ry, blur), stops, opacity)

    def oval(self, x: float, y: float, rx: float, ry: float, blur: float = 0.0) -> Image.Image:
        """The mask of an ellipse; both radii are fractions of the width."""
        cx, cy = self.at(x, y)
        rx, ry = rx * self.size[0], ry * self.size[0]
        return self.mask(lambda draw: draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=255), blur)

    def line(
        self, points: Sequence[Point], width: float, colour: Colour, opacity: float = 1.0, blur: float = 0.0
    ) -> None:
        """A line; its width is a fraction of the picture's width."""
        pixels = [self.at(x, y) for x, y in points]
        thick = max(1, round(width * self.size[0]))
        mask = self.mask(lambda draw: draw.line(pixels, fill=255, width=thick, joint="curve"), blur)
        self.fill(mask, [(0, colour)], opacity)

    def done(self) -> Image.Image:
        """The picture in its final size."""
        return self.image.resize(self.final_size, Image.Resampling.LANCZOS)


def gradient(size: tuple[int, int], stops: Sequence[tuple[float, Colour]]) -> Image.Image:
    """A vertical gradient through colours at fractions of the height."""
    width, height = size
    column = Image.new("RGB", (1, height))
    for y in range(height):
        column.putpixel((0, y), colour_at(y / height, stops))
    return column.resize((width, height))


def colour_at(where: float, stops: Sequence[tuple[float, Colour]]) -> Colour:
    """The colour between the two stops around a place."""
    before = stops[0]
    for after in stops:
        if where <= after[0]:
            share = (where - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
            red, green, blue = (round(a + (b - a) * share) for a, b in zip(before[1], after[1], strict=True))
            return red, green, blue
        before = after
    return before[1]


def blurred(mask: Image.Image, radius: float) -> Image.Image:
    """A wide blur, made on a reduced copy: the same to the eye and far quicker."""
    if radius < 1:
        return mask
    step = max(1, int(radius / 4))
    small = mask.resize((max(1, mask.width // step), max(1, mask.height // step)), Image.Resampling.BOX)
    return small.filter(ImageFilter.GaussianBlur(radius / step)).resize(mask.size, Image.Resampling.BICUBIC)


def ridge(seed: int, base: float, height: float, roughness: int) -> list[Point]:
    """The outline of a range of hills: sine waves of falling height, closed at the bottom."""
    rng = random.Random(seed)
    waves = [(rng.uniform(0.8, 1.3) * 2**i, rng.uniform(0, 7), height / 1.9**i) for i in range(roughness)]

    def top(x: float) -> float:
        return base - sum(
            size * math.sin(frequency * x * math.tau + shift) for frequency, shift, size in waves
        )

    return [(0.0, 1.0), *((i / 400, top(i / 400)) for i in range(401)), (1.0, 1.0)]


def cup() -> Image.Image:
    """A steaming cup of coffee on a wooden table, in morning light."""
    p = Picture(720, 1280, [(0.0, (247, 226, 196)), (0.45, (243, 196, 150)), (0.72, (214, 148, 108))])
    p.ellipse(0.80, 0.16, 0.42, 0.42, (0, (255, 246, 220)), blur=0.12, opacity=0.9)
    for x in (0.06, 0.30):  # light from a window on the wall
        p.shape(
            [(x, 0.24), (x + 0.18, 0.20), (x + 0.18, 0.50), (x, 0.54)],
            (0, (255, 240, 212)),
            blur=0.012,
            opacity=0.55,
        )
    p.shape([(0, 0.715), (1, 0.715), (1, 1), (0, 1)], (0.715, (150, 92, 62)), (1.0, (92, 52, 38)))
    for i, y in enumerate((0.755, 0.81, 0.875, 0.95)):  # planks
        p.line([(0, y), (1, y + 0.002 * (i - 1))], 0.004, (74, 40, 30), opacity=0.45)
    p.ellipse(0.42, 0.835, 0.40, 0.075, (0, (50, 24, 18)), blur=0.03, opacity=0.65)
    p.ellipse(0.50, 0.822, 0.36, 0.078, (0.77, (252, 248, 240)), (0.87, (214, 196, 180)))
    p.ellipse(0.50, 0.818, 0.29, 0.054, (0.78, (226, 210, 194)), (0.85, (244, 236, 226)))
    handle = ImageChops.subtract(p.oval(0.735, 0.665, 0.125, 0.135), p.oval(0.735, 0.665, 0.075, 0.085))
    p.fill(handle, [(0.58, (70, 128, 136)), (0.75, (36, 84, 96))])
    body = [(0.24, 0.575), (0.76, 0.575)]
    body += [(0.76 - 0.16 * (i / 30) ** 2.4, 0.575 + 0.245 * i / 30) for i in range(31)]
    body += [(0.24 + 0.16 * (i / 30) ** 2.4, 0.575 + 0.245 * i / 30) for i in range(30, -1, -1)]
    pixels = [p.at(x, y) for x, y in body]
    body_mask = p.mask(lambda draw: draw.polygon(pixels, fill=255))
    body_mask = ImageChops.lighter(body_mask, p.oval(0.5, 0.82, 0.10, 0.022))
    p.fill(body_mask, [(0.57, (98, 166, 170)), (0.70, (66, 130, 140)), (0.83, (38, 86, 98))])
    shade = p.mask(lambda draw: draw.rectangle((*p.at(0.10, 0.5), *p.at(0.36, 0.9)), fill=255), blur=0.07)
    p.fill(ImageChops.multiply(body_mask, shade), [(0, (20, 58, 72))], opacity=0.7)
    shine = p.mask(lambda draw: draw.rectangle((*p.at(0.60, 0.5), *p.at(0.66, 0.78)), fill=255), blur=0.025)
    p.fill(ImageChops.multiply(body_mask, shine), [(0, (214, 240, 236))], opacity=0.6)
    p.ellipse(0.5, 0.575, 0.26, 0.070, (0.53, (168, 214, 212)), (0.62, (120, 182, 184)))
    p.ellipse(0.5, 0.578, 0.238, 0.058, (0.54, (50, 96, 106)), (0.62, (84, 146, 152)))
    p.ellipse(0.5, 0.584, 0.222, 0.048, (0.55, (84, 46, 28)), (0.62, (132, 80, 46)))
    p.ellipse(0.54, 0.588, 0.11, 0.020, (0, (196, 140, 92)), blur=0.012, opacity=0.8)
    for x, phase, reach in ((0.42, 0.0, 0.30), (0.51, 2.1, 0.36), (0.59, 4.0, 0.27)):  # steam
        path = [
            (x + 0.035 * math.sin(phase + 6.5 * i / 60) * (0.35 + i / 60), 0.565 - reach * i / 60)
            for i in range(61)
        ]
        for start in range(0, 60, 4):  # fainter and wider on its way up
            share = start / 60
            p.line(
                path[start : start + 6],
                0.018 + 0.03 * share,
                (255, 252, 246),
                0.55 * (1 - share) ** 1.2,
                0.012,
            )
    return p.done()


def boat() -> Image.Image:
    """A sailing boat on a calm sea at dusk."""
    p = Picture(
        1280,
        720,
        [(0.0, (38, 48, 98)), (0.28, (122, 82, 140)), (0.46, (236, 132, 118)), (0.60, (255, 204, 140))],
    )
    p.ellipse(0.64, 0.54, 0.22, 0.22, (0, (255, 226, 160)), blur=0.07, opacity=0.75)
    p.ellipse(0.64, 0.54, 0.062, 0.062, (0.42, (255, 250, 222)), (0.6, (255, 214, 134)))
    for x, y, w in (
        (0.16, 0.20, 0.13),
        (0.30, 0.245, 0.10),
        (0.86, 0.17, 0.11),
        (0.78, 0.30, 0.08),
        (0.44, 0.33, 0.07),
    ):
        p.ellipse(x, y, w, 0.009, (0, (255, 176, 150)), blur=0.006, opacity=0.65)
        p.ellipse(x + 0.03, y - 0.016, w * 0.6, 0.008, (0, (255, 196, 166)), blur=0.006, opacity=0.6)
    p.shape(
        [(x, min(y, 0.605)) for x, y in ridge(5, 0.575, 0.018, 4)],
        (0.54, (150, 92, 128)),
        (0.6, (120, 76, 122)),
    )
    p.shape(
        [(0, 0.60), (1, 0.60), (1, 1), (0, 1)],
        (0.60, (238, 152, 122)), (0.68, (156, 98, 134)), (0.84, (72, 66, 122)), (1.0, (32, 38, 84)),
    )  # fmt: skip
    rng = random.Random(7)
    for i in range(46):  # the sun on the water
        depth = (i / 46) ** 1.5
        y = 0.605 + 0.37 * depth
        x = 0.64 + rng.uniform(-1, 1) * (0.012 + 0.05 * depth)
        p.ellipse(
            x,
            y,
            0.012 + rng.random() * (0.025 + 0.05 * depth),
            0.0012 + 0.003 * depth,
            (0, (255, 224, 160)),
            opacity=0.75,
        )
    for _ in range(60):  # ripples elsewhere
        depth = rng.random() ** 1.4
        colour = (255, 188, 150) if rng.random() < 0.5 else (40, 42, 92)
        p.ellipse(
            rng.random(),
            0.62 + 0.36 * depth,
            0.01 + 0.05 * depth,
            0.001 + 0.0018 * depth,
            (0, colour),
            opacity=0.28,
        )
    # The boat's mirror image, then the boat.
    p.shape(
        [(0.36, 0.765), (0.375, 0.99), (0.27, 0.79)],
        (0.76, (214, 150, 140)),
        (1.0, (90, 72, 120)),
        blur=0.004,
        opacity=0.5,
    )
    p.shape(
        [(0.235, 0.765), (0.465, 0.765), (0.43, 0.81), (0.265, 0.81)],
        (0, (40, 30, 66)),
        blur=0.003,
        opacity=0.7,
    )
    main = [(0.352, 0.70)] + [
        (0.352 - 0.118 * math.sin(math.pi / 2 * i / 20), 0.275 + 0.425 * i / 20) for i in range(21)
    ]
    jib = (
        [(0.362, 0.30)]
        + [(0.362 + 0.092 * (i / 20) ** 1.25, 0.30 + 0.40 * i / 20) for i in range(21)]
        + [(0.362, 0.70)]
    )
    p.shape(main, (0.27, (255, 246, 232)), (0.70, (250, 208, 178)))
    p.shape(jib, (0.30, (255, 226, 190)), (0.70, (240, 150, 122)))
    for share in (0.35, 0.6, 0.82):  # seams
        y = 0.275 + 0.425 * share
        p.line(
            [(0.352 - 0.118 * math.sin(math.pi / 2 * share), y), (0.352, y - 0.012)],
            0.0012,
            (206, 150, 132),
            opacity=0.7,
        )
    p.line([(0.357, 0.255), (0.357, 0.73)], 0.0045, (70, 42, 52))
    p.line([(0.235, 0.708), (0.357, 0.703)], 0.004, (70, 42, 52))
    hull = [(0.215, 0.715), (0.475, 0.705)] + [
        (0.475 - 0.045 * (i / 12) ** 0.7, 0.705 + 0.065 * i / 12) for i in range(13)
    ]
    hull += [(0.25, 0.772), (0.228, 0.75)]
    p.shape(hull, (0.70, (176, 62, 66)), (0.775, (92, 30, 56)))
    p.line([(0.217, 0.722), (0.472, 0.713)], 0.004, (255, 226, 196))
    p.ellipse(0.35, 0.774, 0.13, 0.003, (0, (255, 220, 190)), blur=0.002, opacity=0.6)
    for x, y, w in ((0.72, 0.22, 0.016), (0.755, 0.25, 0.012), (0.69, 0.27, 0.010)):  # gulls
        for side in (-1, 1):
            wing = [
                (x + side * w * t / 8, y - 0.022 * math.sin(math.pi * t / 8 * 0.8) * w / 0.016)
                for t in range(9)
            ]
            p.line(wing, 0.0018, (58, 42, 84))
    return p.done()


def lake() -> Image.Image:
    """Mountains in the mist above a lake, at sunrise."""
    p = Picture(
        1024,
        1792,
        [(0.0, (78, 128, 176)), (0.22, (158, 194, 210)), (0.40, (252, 222, 186)), (0.52, (255, 196, 150))],
    )
    p.ellipse(0.34, 0.33, 0.40, 0.40, (0, (255, 244, 214)), blur=0.14, opacity=0.85)
    p.ellipse(0.34, 0.33, 0.075, 0.075, (0, (255, 252, 238)), blur=0.004)
    for x, y, w in ((0.70, 0.10, 0.26), (0.16, 0.17, 0.20), (0.62, 0.22, 0.16)):
        p.ellipse(x, y, w, 0.020, (0, (255, 246, 232)), blur=0.022, opacity=0.55)
        p.ellipse(x - 0.06, y - 0.010, w * 0.5, 0.026, (0, (255, 248, 236)), blur=0.02, opacity=0.5)
    layers = (
        (11, 0.44, 0.050, 6, (176, 184, 206), (236, 206, 192)),
        (3, 0.50, 0.045, 6, (128, 150, 184), (214, 196, 194)),
        (29, 0.555, 0.035, 5, (84, 118, 156), (172, 178, 190)),
        (8, 0.605, 0.022, 5, (48, 86, 116), (110, 140, 156)),
    )
    for seed, base, height, roughness, top, bottom in layers:
        p.shape(ridge(seed, base, height, roughness), (base - height, top), (base + 0.09, bottom))
    p.shape(
        [(0, 0.655), (1, 0.655), (1, 1), (0, 1)],
        (0.655, (186, 190, 196)),
        (0.78, (112, 150, 172)),
        (1.0, (38, 78, 104)),
    )
    world = p.image.copy()
    shore = round(0.655 * p.size[1])
    mirror = world.crop((0, shore - round(0.30 * p.size[1]), p.size[0], shore)).transpose(
        Image.Transpose.FLIP_TOP_BOTTOM
    )
    mirror = mirror.filter(ImageFilter.BoxBlur(6))
    fade = gradient(mirror.size, [(0, (150, 150, 150)), (1.0, (0, 0, 0))]).convert("L")
    p.image.paste(mirror, (0, shore), fade)
    p.ellipse(0.5, 0.655, 0.75, 0.014, (0, (255, 240, 224)), blur=0.016, opacity=0.75)
    rng = random.Random(21)
    for i in range(34):  # the sun on the water
        depth = (i / 34) ** 1.3
        p.ellipse(
            0.34 + rng.uniform(-1, 1) * (0.02 + 0.06 * depth), 0.665 + 0.24 * depth,
            0.02 + rng.random() * (0.03 + 0.06 * depth), 0.0018 + 0.003 * depth, (0, (255, 232, 196)), opacity=0.55,
        )  # fmt: skip
    bank = [(0, 1), (0, 0.885)] + [
        (x / 50, 0.885 + 0.085 * (x / 50) ** 1.3 + 0.005 * math.sin(x * 0.9)) for x in range(51)
    ]
    p.shape([*bank, (1, 1)], (0.87, (30, 62, 66)), (1.0, (14, 34, 42)))
    for x, foot, tall in (
        (0.05, 0.905, 0.25), (0.155, 0.915, 0.19), (0.245, 0.925, 0.23), (0.335, 0.93, 0.13), (0.41, 0.94, 0.09),
        (0.90, 0.985, 0.16), (0.985, 0.99, 0.22), (0.80, 0.975, 0.085),
    ):  # fmt: skip
        fir(p, x, foot, tall)
    return p.done()


def fir(p: Picture, x: float, foot: float, tall: float) -> None:
    """A fir: a row of drooping branches, wider towards the foot."""
    left: list[Point] = []
    right: list[Point] = []
    steps = 9
    for i in range(1, steps + 1):
        share = i / steps
        y, reach = foot - tall * (1 - share), tall * 0.36 * share**0.85
        left += [(x - reach, y), (x - reach * 0.45, y - tall * 0.025)]
        right += [(x + reach, y), (x + reach * 0.45, y - tall * 0.025)]
    p.shape([(x, foot - tall), *right, *reversed(left)], (foot - tall, (34, 78, 78)), (foot, (16, 42, 50)))
    p.shape(
        [
            (x - 0.006, foot - 0.01),
            (x + 0.006, foot - 0.01),
            (x + 0.006, foot + 0.02),
            (x - 0.006, foot + 0.02),
        ],
        (0, (20, 34, 38)),
    )


def balloons() -> Image.Image:
    """Hot-air balloons above dunes, early in the morning."""
    p = Picture(
        1792,
        1024,
        [(0.0, (92, 168, 206)), (0.35, (176, 216, 222)), (0.60, (255, 232, 200)), (0.75, (255, 206, 160))],
    )
    p.ellipse(0.90, 0.55, 0.24, 0.24, (0, (255, 244, 206)), blur=0.08, opacity=0.9)
    p.ellipse(0.90, 0.55, 0.035, 0.035, (0, (255, 252, 236)), blur=0.003)
    for x, y, w in ((0.55, 0.10, 0.10), (0.12, 0.52, 0.12), (0.93, 0.22, 0.09), (0.45, 0.47, 0.07)):
        p.ellipse(x, y, w, 0.012, (0, (255, 252, 244)), blur=0.010, opacity=0.7)
        p.ellipse(x + 0.02, y - 0.016, w * 0.55, 0.015, (0, (255, 252, 244)), blur=0.009, opacity=0.6)
    dunes = (
        (4, 0.70, 0.020, 3, (238, 184, 148), (226, 156, 122)),
        (16, 0.775, 0.028, 3, (232, 158, 108), (206, 120, 84)),
        (9, 0.87, 0.040, 2, (224, 132, 82), (168, 82, 64)),
    )
    for seed, base, height, roughness, top, bottom in dunes:
        outline = ridge(seed, base, height, roughness)
        p.shape(outline, (base - height, top), (min(1.0, base + 0.16), bottom))
        lee = [(x, y + 0.012 + 0.05 * max(0.0, math.sin(x * 9 + seed))) for x, y in outline[1:-1]]
        p.shape([*outline[1:-1], *reversed(lee)], (0, (255, 214, 160)), blur=0.003, opacity=0.28)
    for x, y, radius, colours in (
        (0.655, 0.55, 0.026, ((250, 240, 220), (120, 150, 170))),
        (0.785, 0.30, 0.042, ((246, 200, 92), (214, 106, 74))),
        (0.235, 0.55, 0.034, ((96, 160, 158), (246, 236, 214))),
        (0.52, 0.36, 0.062, ((250, 238, 214), (226, 120, 84))),
        (0.30, 0.27, 0.105, ((206, 72, 66), (250, 206, 120))),
    ):
        balloon(p, x, y, radius, colours)
    return p.done()


def balloon(p: Picture, x: float, y: float, radius: float, colours: tuple[Colour, Colour]) -> None:
    """A striped balloon: gores as ever narrower outlines laid on each other, light from the right."""
    ratio = p.size[0] / p.size[1]
    half = [
        (math.sqrt(1 - (1 - t / 0.42) ** 2) if t < 0.42 else 1 - 0.84 * ((t - 0.42) / 0.58) ** 1.55, t)
        for t in (i / 60 for i in range(61))
    ]

    def outline(share: float) -> list[Point]:
        right = [(x + radius * share * w, y + radius * ratio * (t * 2.35 - 1)) for w, t in half]
        left = [(x - radius * share * w, y + radius * ratio * (t * 2.35 - 1)) for w, t in half]
        return right + left[::-1]

    for i, share in enumerate((1.0, 0.87, 0.64, 0.40, 0.14)):
        p.shape(outline(share), (0, colours[i % 2]))
    pixels = [p.at(*point) for point in outline(1.0)]
    whole = p.mask(lambda draw: draw.polygon(pixels, fill=255))
    shadow = p.oval(x - radius * 0.95, y + radius * 0.5, radius * 0.75, radius * 1.5, blur=radius * 0.35)
    p.fill(ImageChops.multiply(whole, shadow), [(0, (70, 40, 70))], opacity=0.5)
    light = p.oval(x + radius * 0.42, y - radius * 0.35, radius * 0.22, radius * 0.45, blur=radius * 0.2)
    p.fill(ImageChops.multiply(whole, light), [(0, (255, 250, 232))], opacity=0.6)
    bottom = y + radius * ratio * 1.35
    basket = bottom + radius * ratio * 0.26
    for side in (-1, 1):
        p.line(
            [(x + side * radius * 0.15, bottom), (x + side * radius * 0.11, basket)],
            radius * 0.02,
            (88, 60, 52),
        )
    wide, deep = radius * 0.13, radius * ratio * 0.17
    p.shape(
        [(x - wide, basket), (x + wide, basket), (x + wide * 0.85, basket + deep), (x - wide * 0.85, basket + deep)],
        (basket, (150, 98, 62)), (basket + deep, (94, 56, 42)),
    )  # fmt: skip


COLUMNS = ("clip_id", "prompt", "image", "duration", "size", "campaign", "channel")

CLIPS: tuple[tuple[str, str, str | None, int, str, str, str], ...] = (
    (
        "coffee-morning-steam",
        "The camera pushes in slowly on a teal ceramic cup of coffee on a wooden table. Steam curls up and catches the "
        "morning light; a soft patch of window light wanders over the wall. Warm, quiet, shallow depth of field. "
        "Sound: a clock, birds far away.",
        "images/cup.jpg", 4, "720x1280", "slow-mornings", "stories",
    ),
    (
        "harbour-dusk-sail",
        "A small red sailing boat glides from left to right over a calm sea at dusk, its reflection breaking into "
        "ripples. Gulls circle, the sun sinks to the horizon, the sails glow. Wide, steady shot from another boat. "
        "Sound: water against the hull, rope creaking.",
        "images/boat.png", 8, "1280x720", "coast-autumn", "web-hero",
    ),
    (
        "alpine-lake-sunrise",
        "Sunrise over a mountain lake. Mist drifts between the ridges, the light moves down the slopes, firs sway "
        "slightly in the foreground. The camera rises slowly above the trees. Cinematic, natural colours. "
        "Sound: wind in the firs, one distant bird.",
        "images/lake.jpg", 12, "1024x1792", "high-trails", "reels",
    ),
    (
        "desert-balloon-drift",
        "Striped hot-air balloons drift over golden dunes early in the morning. The largest rises and passes close to "
        "the camera while its shadow runs over the sand. Smooth aerial shot, gentle parallax. "
        "Sound: burner bursts, then silence.",
        "images/balloons.jpg", 8, "1792x1024", "slow-travel", "cinema",
    ),
    (
        "sourdough-crust-macro",
        "Macro shot of a sourdough loaf on a cooling rack, flour dust in a beam of side light. A bread knife enters "
        "from the right and cuts through the crackling crust; steam escapes from the crumb. 85 mm look, dark slate "
        "background. Sound: the crust crackling.",
        None, 4, "720x1280", "bakery-launch", "stories",
    ),
    (
        "glass-bottle-orbit",
        "Product shot: an unlabelled amber glass bottle of skin oil stands on wet black stone. The camera orbits it "
        "half a turn while one drop runs down the glass and a soft box light travels over its shoulder. Pale green "
        "backdrop, studio precision, no text. Sound: a low, airy hum.",
        None, 8, "1280x720", "botanical-care", "shop",
    ),
    (
        "night-market-noodles",
        "An empty night-market stall in light rain: a wok flares, noodles and spring onions fly up in slow motion and "
        "fall back, paper lanterns sway, neon colours without letters shimmer in the puddles. Hand-held, close. "
        "Sound: sizzling, rain on canvas.",
        None, 12, "1792x1024", "city-flavours", "cinema",
    ),
    (
        "running-shoe-trail",
        "Product shot: a plain white trail-running shoe lands in slow motion on a mossy forest path; water and pine "
        "needles burst outwards, then settle. Low angle, back light through fog, 120 frames a second look. No person "
        "to be seen, no logo. Sound: one deep impact, then dripping.",
        None, 4, "1024x1792", "high-trails", "reels",
    ),
)  # fmt: skip


def write_images(folder: Path) -> None:
    """Draw the four images."""
    folder.mkdir(exist_ok=True)
    for name, draw in (("cup", cup), ("lake", lake), ("balloons", balloons)):
        draw().save(folder / f"{name}.jpg", quality=78, optimize=True)
    boat().save(folder / "boat.png", optimize=True)


def write_manifest(folder: Path) -> None:
    """Write the rows twice, as CSV and as Parquet."""
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, *CLIPS])
    columns = dict(zip(COLUMNS, zip(*CLIPS, strict=True), strict=True))
    pq.write_table(
        pa.table({name: list(values) for name, values in columns.items()}), folder / "manifest.parquet"
    )


if __name__ == "__main__":
    write_images(HERE / "images")
    write_manifest(HERE)
