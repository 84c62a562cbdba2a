"""A video's frame size."""

from typing import NamedTuple, Self


class Size(NamedTuple):
    """Pixels, written ``WIDTHxHEIGHT``."""

    width: int
    height: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``720x1280``.

        Raises:
            ValueError: the text is not two positive whole numbers joined by ``x``.
        """
        sides = text.strip().lower().split("x")
        if len(sides) != 2 or not all(side.isascii() and side.isdigit() and int(side) for side in sides):
            raise ValueError(f"{text!r} is not a size such as 720x1280")
        return cls(int(sides[0]), int(sides[1]))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"
