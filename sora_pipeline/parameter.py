"""What a further parameter of a model may be: a plain type that the catalogue and the manifest exchange."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_WHOLE = re.compile(r"[+-]?[0-9]{1,19}(?:[.,]0{1,2})?")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15}|,[0-9]{1,2})?")
_TRUTH = {"true": True, "false": False}
_EXACT = 2**53
"""Whole numbers beyond are not the same in every program that reads JSON."""


class ParameterType(StrEnum):
    """What its values are."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter.

    Attributes:
        type: What its values are.
        minimum: The least number.
        maximum: The greatest number.
        max_chars: How long a text may be.
        choices: The texts that are allowed; none: any.
    """

    type: ParameterType
    minimum: float | None = None
    maximum: float | None = None
    max_chars: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        match self.type:
            case ParameterType.BOOLEAN:
                return "true or false"
            case ParameterType.TEXT if self.choices:
                return ", ".join(self.choices)
            case ParameterType.TEXT:
                return f"text of up to {self.max_chars:,} characters" if self.max_chars else "text"
        number = "a whole number" if self.type is ParameterType.INTEGER else "a number"
        least = "" if self.minimum is None else f" from {_plain(self.minimum)}"
        most = "" if self.maximum is None else f" up to {_plain(self.maximum)}"
        return f"{number}{least}{most}"

    def read(self, value: Any) -> Any:
        """A cell that is not blank as a JSON value.

        Raises:
            ValueError: it is none that is allowed; says why, as a predicate.
        """
        if self.type is ParameterType.TEXT:
            return self._text(value)
        if self.type is ParameterType.BOOLEAN:
            truth = value if isinstance(value, bool) else _TRUTH.get(str(value).strip().lower())
            if truth is None or not isinstance(value, bool | str):
                raise ValueError("is neither true nor false")
            return truth
        return self._number(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("is not text")
        text = value.strip()
        if self.choices and text not in self.choices:
            raise ValueError("is not one of its values")
        if self.max_chars is not None and len(text) > self.max_chars:
            raise ValueError(f"has {len(text):,} characters")
        return text

    def _number(self, value: Any) -> int | float:
        whole = self.type is ParameterType.INTEGER
        kind = "is not a whole number" if whole else "is not a number"
        if isinstance(value, bool | list | dict):
            raise ValueError(kind)
        text = f"{value:.15f}".rstrip("0") + "0" if isinstance(value, float) else str(value).strip()
        if (_WHOLE if whole else _NUMBER).fullmatch(text) is None:
            raise ValueError(kind)
        number = int(re.split("[.,]", text)[0]) if whole else float(text.replace(",", "."))
        if abs(number) > _EXACT:
            raise ValueError("is too large a number")
        if (self.minimum is not None and number < self.minimum) or (
            self.maximum is not None and number > self.maximum
        ):
            raise ValueError("is out of its range")
        return number


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
