"""The settings of a pipeline as fields of a Component: one for each setting, in types that YAML has."""

from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import dagster as dg
from pydantic import SecretStr, create_model

from sora_pipeline.settings import SECRET_FIELDS, Settings

ATTRIBUTES = {"model": "default_model"}
"""Settings whose name a Component has a method of; in YAML they keep it."""


def settings_model() -> type[dg.Model]:
    """A model with every setting; what is left out comes from the environment, or is the default.

    Values are checked when the pipeline is built, where the sentences are: here they may be templates.
    """
    fields: dict[str, Any] = {
        ATTRIBUTES.get(name, name): (_annotated(name, field.annotation, field.description or ""), None)
        for name, field in Settings.model_fields.items()
    }
    return create_model("SettingsFields", __base__=dg.Model, **fields)


def _annotated(name: str, annotation: Any, description: str) -> Any:
    if name in SECRET_FIELDS:
        shown = f"{description} Write `{{{{ env.NAME }}}}`: a file is no place for a secret."
        return Annotated[SecretStr | None, dg.Resolver.default(model_field_type=str, description=shown)]
    resolver = dg.Resolver(
        lambda _, value: value,  # Dagster fills in templates before
        model_field_name=name,
        model_field_type=_yaml_type(annotation),
        description=description,
    )
    return Annotated[Any, resolver]


def _yaml_type(annotation: Any) -> Any:
    """What a person writes in YAML for a value of this type."""
    if get_origin(annotation) is Literal or annotation in (int, float, bool):
        return annotation
    if annotation is Decimal:
        return float | str
    if get_origin(annotation) in (Union, UnionType):
        (inner,) = (member for member in get_args(annotation) if member is not NoneType)
        return _yaml_type(inner)
    return str
