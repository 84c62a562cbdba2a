"""What rows are checked against. The numbers themselves belong to the model catalogue, and come in from there."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True)
class RowRules:
    """What rows are checked against: the limits of every model allowed, and the one that is meant by a blank."""

    limits: Mapping[str, Limits]
    default_model: str

    @cached_property
    def models(self) -> str:
        """The models allowed, as an error names them."""
        return either([*self.limits])

    @cached_property
    def durations(self) -> dict[str, str]:
        """The durations allowed, by model; so the next."""
        return {
            name: either([str(seconds) for seconds in limit.durations]) for name, limit in self.limits.items()
        }

    @cached_property
    def sizes(self) -> dict[str, str]:
        """The sizes allowed."""
        return {name: either([str(size) for size in limit.sizes]) for name, limit in self.limits.items()}

    def __post_init__(self) -> None:
        if self.default_model not in self.limits:
            raise ValueError(
                f"the default model {self.default_model!r} is not in the catalogue; it has {self.models or 'none'}"
            )
