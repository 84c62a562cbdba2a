"""The attributes of the Component, from its schema."""

from typing import Any

from docs_reference.markdown import code, table
from sora_pipeline.components import VideoProduction

INTRODUCTION = """# Attributes of the Component

`type: sora_pipeline.components.VideoProduction`; what a `defs.yaml` may say below `attributes`. [The Component](../component.md) has
an example. What is left out comes from the environment ([settings](settings.md)), else it is the default.
"""


def page() -> str:
    """The page."""
    return f"{INTRODUCTION}\n{attributes_table()}"


def attributes_table() -> str:
    """One row an attribute, those of the pipeline itself first."""
    properties = VideoProduction.model().model_json_schema()["properties"]
    own = [name for name in VideoProduction.__annotations__ if name in properties]
    names = [*own, *(name for name in properties if name not in own)]
    rows = [[code(name), _type(properties[name]), properties[name].get("description", "")] for name in names]
    return table(["attribute", "type", "meaning"], rows)


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " · ".join(code(value) for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"] if each.get("type") != "null"]
        # Dagster takes a text for everything, as a template.
        return " or ".join(kinds[:-1] if len(kinds) > 1 and kinds[-1] == "text" else kinds)
    if schema["type"] == "array":
        return "list"
    return {"string": "text", "object": "mapping", "boolean": "true · false"}.get(
        schema["type"], schema["type"]
    )
