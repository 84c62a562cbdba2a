"""The attributes of the Component as the table of ``docs/component.md``: ``python -m …schema_table`` writes it there."""

from pathlib import Path
from typing import Any

from sora_pipeline.components import VideoProduction

PAGE = Path(__file__).parents[2] / "docs" / "component.md"
BEGIN, END = "<!-- attributes: begin -->\n", "<!-- attributes: end -->"


def table() -> str:
    """One row an attribute, those of the pipeline itself first."""
    properties = VideoProduction.model().model_json_schema()["properties"]
    own = list(VideoProduction.__annotations__)
    names = [name for name in own if name in properties] + [name for name in properties if name not in own]
    rows = [f"| `{name}` | {_type(properties[name])} | {properties[name]['description']} |" for name in names]
    return "\n".join(["| attribute | type | meaning |", "|---|---|---|", *rows]) + "\n"


def in_page() -> str:
    """What the page says now."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " · ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [_type(each) for each in schema["anyOf"] if each.get("type") != "null"]
        # Dagster takes a text for everything, as a template.
        return " or ".join(kinds[:-1] if len(kinds) > 1 and kinds[-1] == "text" else kinds)
    if schema["type"] == "array":
        return "list"
    return {"string": "text", "object": "mapping", "boolean": "true · false"}.get(
        schema["type"], schema["type"]
    )


if __name__ == "__main__":
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}", "utf-8")
