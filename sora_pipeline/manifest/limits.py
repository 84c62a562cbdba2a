"""What rows are checked against. The numbers themselves belong to the model catalogue, and come in from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sora_pipeline.clip import Size
from sora_pipeline.manifest.problems import either

DEFAULT_DURATION = 4
DEFAULT_SIZE = Size(720, 1280)
MAX_TAKES = 100


class Limits(Protocol):
    """What one model can make."""

    @property
    def durations(self) -> tuple[int, ...]:
        """Seconds."""
        ...

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Frame sizes."""
        ...

    @property
    def max_prompt_chars(self) -> int:
        """Length of the longest prompt."""
        ...


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """``Limits`` as plain data, for callers that have no catalogue of their own."""

    durations: tuple[int, ...]
    sizes: tuple[Size, ...]
    max_prompt_chars: int


@dataclass(frozen=True, slots=True)
class RowRules:
    """What rows are checked against: the limits of every model allowed, and the one that is meant by a blank."""

    limits: Mapping[str, Limits]
    default_model: str

    def __post_init__(self) -> None:
        if self.default_model not in self.limits:
            known = either([*self.limits]) or "none"
            raise ValueError(
                f"the default model {self.default_model!r} is not in the catalogue; it has {known}"
            )
