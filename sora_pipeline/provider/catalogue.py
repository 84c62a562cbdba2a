"""The model catalogue: what each model takes and costs.

Read from ``catalogue.toml``, the catalogues that installed providers bring, and a user's file over them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from sora_pipeline.clip import Size
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.parameter import Parameter, ParameterType
from sora_pipeline.provider.registry import broken, usable
from sora_pipeline.provider.spec import ProviderSpec
from sora_pipeline.suggestions import did_you_mean


class CatalogueError(SoraPipelineError, ValueError):
    """Raised where a catalogue file has a mistake; the message names the file and the key."""


class UnknownModelError(SoraPipelineError, KeyError):
    """Raised where the catalogue has no such model; the message names those it has."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(name, "unknown_model")
        self.name = name
        self.known = known

    def __str__(self) -> str:
        return f"unknown model {self.name!r}; the catalogue has {', '.join(self.known)}.{did_you_mean(self.name, self.known)}"


def _size(value: object) -> object:
    return Size.parse(value) if isinstance(value, str) else value


_Price = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
_Prices = dict[Annotated[Size, BeforeValidator(_size)], _Price]
_STRICT = ConfigDict(frozen=True, extra="forbid")


class FrameField(StrEnum):
    """How a model is told its frame size where a format has two ways."""

    SIZE = "size"
    RESOLUTION = "resolution"  # and an aspect ratio beside it


class ImageLimits(BaseModel):
    """What a model takes as its first frame."""

    model_config = _STRICT

    media_types: tuple[str, ...] = Field(min_length=1)
    max_bytes: int = Field(gt=0)


class _ParameterData(BaseModel):
    """One entry of a model's ``parameters``."""

    model_config = _STRICT

    type: ParameterType
    minimum: Annotated[Decimal, Field(allow_inf_nan=False)] | None = None
    maximum: Annotated[Decimal, Field(allow_inf_nan=False)] | None = None
    max_chars: int | None = Field(default=None, gt=0)
    choices: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        numbers = self.type in (ParameterType.INTEGER, ParameterType.NUMBER)
        if not numbers and (self.minimum is not None or self.maximum is not None):
            raise ValueError("minimum and maximum are for numbers")
        if self.type is not ParameterType.TEXT and (self.max_chars is not None or self.choices):
            raise ValueError("max_chars and choices are for text")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is greater than maximum")
        return self


def _is_free(name: str) -> str:
    if name in _OWN_FIELDS:
        raise ValueError(f"{name} is a field of requests already, or decides what a clip costs; leave it out")
    return name


_OWN_FIELDS = frozenset(
    {
        *("prompt", "model", "provider", "mode", "duration", "seconds", "size", "resolution", "aspect_ratio"),
        *("image", "images", "image_url", "frame_images", "input_reference", "input_references"),
        *("n", "stream", "callback_url"),
    }
)
"""What requests say by themselves, and what would make them something else than the one clip that is paid for."""
_ParameterName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$"), AfterValidator(_is_free)]


class _ModelData(BaseModel):
    """One ``[models.<name>]`` table."""

    model_config = _STRICT

    vendor: str = Field(min_length=1)
    slug: str | None = Field(default=None, pattern=r"^[^/\s]+/[^\s]+$")
    formats: tuple[str, ...] = Field(min_length=1)
    frame: FrameField = FrameField.SIZE
    durations: tuple[Annotated[int, Field(gt=0)], ...] = Field(min_length=1)
    max_prompt_chars: int = Field(gt=0)
    expected_render_s: float | None = Field(default=None, gt=0)
    usd_per_second: _Prices = Field(min_length=1)
    unlisted_usd_per_second: _Prices = Field(default_factory=dict)
    image: ImageLimits
    parameters: dict[_ParameterName, _ParameterData] = Field(default_factory=dict)


class _CatalogueData(BaseModel):
    """A whole catalogue file."""

    model_config = _STRICT

    models: dict[str, _ModelData] = Field(min_length=1)


@dataclass(frozen=True)
class Model:
    """One model of the catalogue.

    Attributes:
        name: As the manifest and the provider's path write it.
        vendor: Whose model it is; part of some providers' paths.
        slug: ``vendor/model``, as the unified format names it.
        frame: How the unified format tells it the frame size.
        formats: Names of the providers that offer it, installed or not.
        durations: Seconds a clip may last, ascending.
        sizes: Frame sizes a clip may have, in the catalogue's order.
        usd_per_second: Price by size, unlisted sizes included.
        max_prompt_chars: Longest prompt.
        expected_render_s: About how long a render takes, where that is known: when clips are polled until some have ended.
        image: Limits of the first frame.
        parameters: What else it can be told, by the names of the request's fields, which are those of the manifest's columns, too.
    """

    name: str
    vendor: str
    slug: str
    frame: FrameField
    formats: tuple[str, ...]
    durations: tuple[int, ...]
    sizes: tuple[Size, ...]
    usd_per_second: Mapping[Size, Decimal]
    max_prompt_chars: int
    expected_render_s: float | None
    image: ImageLimits
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def cost(self, duration: int, size: Size) -> Decimal:
        """US dollars for one clip, exact.

        Raises:
            ValueError: the catalogue has no price for this size.
        """
        price = self.usd_per_second.get(size)
        if price is None:
            priced = ", ".join(str(known) for known in self.usd_per_second)
            raise ValueError(f"{self.name} has no price for {size}; priced sizes are {priced}")
        return price * duration


class Catalogue:
    """All known models.

    Attributes:
        problems: Why the models of an installed provider are not among them: a sentence by the provider's name.
    """

    def __init__(
        self, models: Mapping[str, Model], problems: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._models = dict(models)
        self.problems = dict(problems)

    @property
    def names(self) -> tuple[str, ...]:
        """Known model names, sorted."""
        return tuple(sorted(self._models))

    def find(self, name: str) -> Model | None:
        """The model of that name or slug, if it is known."""
        by_slug = (model for model in self._models.values() if model.slug == name)
        return self._models.get(name) or next(by_slug, None)

    def model(self, name: str) -> Model:
        """The model of that name.

        Raises:
            UnknownModelError: there is none.
        """
        try:
            return self._models[name]
        except KeyError:
            raise UnknownModelError(name, self.names) from None


def load_catalogue(extra: Path | None = None) -> Catalogue:
    """The built-in catalogue, with the models that installed providers bring, and a user's file laid over both.

    A provider may add models, which need every key, or its name to the ``formats`` of one that exists. It may not
    change what another's model takes and costs. One whose catalogue has a mistake is left out; ``problems`` says why.

    Args:
        extra: A TOML file of the same shape, or None. It may add models, which need every key, or change
            single keys of those that exist.

    Raises:
        CatalogueError: the user's file cannot be read, or has a mistake.
    """
    built_in = resources.files("sora_pipeline.provider").joinpath("catalogue.toml")
    tables = _tables(built_in.read_text("utf-8"), "catalogue.toml")
    problems = broken()
    for spec in usable():
        try:
            tables = _with_models_of(spec, tables)
        except CatalogueError as problem:
            problems[spec.name] = str(problem)
    if extra is None:
        return _catalogue(tables, "catalogue.toml", problems)
    try:
        text = extra.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{extra}: cannot be read: {error}") from error
    return _catalogue(_laid_over(tables, _tables(text, str(extra))), str(extra), problems)


def _with_models_of(spec: ProviderSpec, tables: dict[str, Any]) -> dict[str, Any]:
    """The tables, and the models that a provider brings.

    Raises:
        CatalogueError: its catalogue cannot be read, has a mistake, or changes a model that is not its own.
    """
    if spec.catalogue is None:
        return tables
    source = f"the catalogue of the provider {spec.name}"
    try:
        brought = _tables(spec.catalogue.read_text("utf-8"), source)
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{source}: cannot be read: {error}") from error
    named = brought.get("models")
    known, models = dict(tables["models"]), named if isinstance(named, Mapping) else {}
    joined = {name: table for name, table in models.items() if name in known}
    for name, table in joined.items():
        if table != {"formats": [spec.name]}:
            raise CatalogueError(
                f'{source}: {name} is in the catalogue already: formats = ["{spec.name}"] is all that can be said of it; '
                "give a model that differs another name"
            )
        known[name] = {**known[name], "formats": [*known[name]["formats"], spec.name]}
    new = {name: table for name, table in models.items() if name not in known}
    if new or not joined:
        # Checked by itself, so that a mistake is this provider's and nobody else's.
        checked = _catalogue({**brought, "models": new}, source)
        if lacking := [name for name in checked.names if spec.name not in checked.model(name).formats]:
            raise CatalogueError(f"{source}: {lacking[0]}: formats does not name {spec.name}")
    return {**tables, "models": {**known, **new}}


def _tables(text: str, source: str) -> dict[str, Any]:
    try:
        # Prices are money: never through binary floats.
        return tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{source}: not valid TOML: {error}") from error


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        both_tables = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _laid_over(old, value) if both_tables else value  # type: ignore[arg-type]
    return merged


def _catalogue(
    tables: Mapping[str, Any], source: str, problems: Mapping[str, str] = MappingProxyType({})
) -> Catalogue:
    try:
        data = _CatalogueData.model_validate(tables)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise CatalogueError(f"{source}: {mistakes}") from error
    return Catalogue({name: _model(name, model) for name, model in data.models.items()}, problems)


def _model(name: str, data: _ModelData) -> Model:
    return Model(
        name=name,
        vendor=data.vendor,
        slug=data.slug or f"{data.vendor}/{name}",
        frame=data.frame,
        formats=data.formats,
        durations=tuple(sorted(set(data.durations))),
        sizes=tuple(data.usd_per_second),
        usd_per_second={**data.unlisted_usd_per_second, **data.usd_per_second},
        max_prompt_chars=data.max_prompt_chars,
        expected_render_s=data.expected_render_s,
        image=data.image,
        parameters={name: _parameter(entry) for name, entry in data.parameters.items()},
    )


def _parameter(data: _ParameterData) -> Parameter:
    return Parameter(
        data.type,
        None if data.minimum is None else float(data.minimum),
        None if data.maximum is None else float(data.maximum),
        data.max_chars,
        data.choices,
    )
