"""What rows are checked against. The numbers themselves belong to the model catalogue, and come in from there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from sora_pipeline.clip import Size
from sora_pipeline.manifest.columns import PARAMETER_COLUMNS
from sora_pipeline.manifest.problems import either
from sora_pipeline.parameter import Parameter, ParameterType

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

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """What else it can be told, by the name of the column that does."""
        ...


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """``Limits`` as plain data, for callers that have no catalogue of their own."""

    durations: tuple[int, ...]
    sizes: tuple[Size, ...]
    max_prompt_chars: int
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


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

    @cached_property
    def all_durations(self) -> tuple[int, ...]:
        """Those of any model, for a row whose own is not known."""
        return tuple(sorted({seconds for limit in self.limits.values() for seconds in limit.durations}))

    @cached_property
    def all_sizes(self) -> tuple[Size, ...]:
        """The same of sizes."""
        return tuple(dict.fromkeys(size for limit in self.limits.values() for size in limit.sizes))

    @cached_property
    def parameter_columns(self) -> tuple[str, ...]:
        """Columns that set a parameter of one of the models, or would be taken for one; they are never merely carried through."""
        known = (name for limit in self.limits.values() for name in limit.parameters)
        return tuple(dict.fromkeys([*PARAMETER_COLUMNS, *known]))

    @cached_property
    def number_columns(self) -> tuple[str, ...]:
        """Columns in which numbers are expected."""
        known = (item for limit in self.limits.values() for item in limit.parameters.items())
        numbers = (
            name
            for name, parameter in known
            if parameter.type in (ParameterType.INTEGER, ParameterType.NUMBER)
        )
        return tuple(dict.fromkeys(["duration", "takes", *numbers]))

    def __post_init__(self) -> None:
        if self.default_model not in self.limits:
            raise ValueError(
                f"the default model {self.default_model!r} is not in the catalogue; it has {self.models or 'none'}"
            )
