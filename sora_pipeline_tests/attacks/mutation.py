"""Damages real files in the ways that networks, disks, odd encoders and attackers do; the same seed damages them alike."""

import os
import random
import re
from collections.abc import Iterator, Mapping

BUDGET = int(os.environ.get("FUZZ_FILES", "150"))
"""Files that each fuzz test tries; `FUZZ_FILES=20000` looks longer."""

# Numbers at which counts and lengths break.
_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_NAME = re.compile(rb"[A-Za-z0-9 ]{4}")


def damaged(seeds: Mapping[str, bytes], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of the seeds, each with a name that says how it was made."""
    contents = list(seeds.items())
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        name, content = contents[number % len(contents)]
        changed, ways = bytearray(content), []
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            way = rng.choice(_WAYS)
            way(changed, rng, contents)
            ways.append(way.__name__)
        yield f"{name} #{number} of seed {seed}: {', '.join(ways)}", bytes(changed)


Seeds = list[tuple[str, bytes]]


def flip_bits(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    for _ in range(rng.choice((1, 3, 30))):
        content[_position(content, rng)] ^= 1 << rng.randrange(8)


def cut(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    del content[max(1, _position(content, rng)) :]


def cut_out(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    start = _position(content, rng)
    if len(content) > start + 1:
        del content[start : start + rng.choice((1, 4, 8, 100, 5000))]
    content.extend(b"\0" * (not content))


def blank(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    start = _position(content, rng)
    stop = min(len(content), start + rng.choice((1, 8, 64, 4096)))
    content[start:stop] = rng.choice(
        (bytes(stop - start), b"\xff" * (stop - start), rng.randbytes(stop - start))
    )


def splice(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    other = rng.choice(seeds)[1]
    start = rng.randrange(len(other))
    at = _position(content, rng)
    part = other[start : start + rng.choice((4, 64, 1000, 20_000))]
    content[at : at + rng.choice((0, len(part)))] = part


def repeat(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    start = _position(content, rng)
    part = content[start : start + rng.choice((4, 8, 64, 1000))]
    content[start:start] = part * rng.choice((1, 2, 50))


def set_number(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    """A number near the name of a box, a chunk or a segment, where lengths and counts stand."""
    names = [match.start() for match in _NAME.finditer(content)] or [0]
    at = rng.choice(names) + rng.choice((-4, 4, 8, 12, 16, 20, 24))
    width = rng.choice((1, 2, 4, 4, 4))
    value = rng.choice((rng.choice(_NUMBERS), rng.getrandbits(32))) & (2 ** (8 * width) - 1)
    if at >= 0 and at + width <= len(content):
        content[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))


def rename(content: bytearray, rng: random.Random, seeds: Seeds) -> None:
    """One box, chunk or segment under the name of another."""
    names = [match.start() for match in _NAME.finditer(content)]
    if names:
        at, other = rng.choice(names), rng.choice(names)
        content[at : at + 4] = content[other : other + 4]


def _position(content: bytearray, rng: random.Random) -> int:
    """Headers are where the decisions are made: half of all damage goes into the first or the last few kilobytes."""
    size = max(1, len(content))
    near = min(size, 4000)
    return rng.choice((rng.randrange(size), rng.randrange(near), size - 1 - rng.randrange(near)))


_WAYS = (
    flip_bits,
    flip_bits,
    cut,
    cut_out,
    blank,
    splice,
    repeat,
    set_number,
    set_number,
    set_number,
    rename,
)
