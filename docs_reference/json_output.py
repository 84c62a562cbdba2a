"""What every command prints with ``--json``, from the types that are its schema."""

from typing import Any, get_type_hints

from sora_pipeline.cli.json_schemas import SCHEMAS, Failure

INTRODUCTION = """# What `--json` prints

One JSON object on standard output, and nothing else there; sentences for people go to standard error. `sora-pipeline schema COMMAND` prints
its JSON Schema. Fields are only ever added. A command that could not do what it was asked for prints a `Failure`.
"""


def page() -> str:
    """The page."""
    named: dict[str, Any] = {}
    commands = "".join(_section(f"`{name}`", kind, named) for name, kind in SCHEMAS.items())
    return INTRODUCTION + _section("Failure", Failure, named) + commands + _parts(named)


def _section(title: str, kind: Any, named: dict[str, Any]) -> str:
    rows = "".join(f"| `{field}` | {_shown(of, named)} |\n" for field, of in get_type_hints(kind).items())
    means = f"{(kind.__doc__ or '').strip()}\n\n" if title == kind.__name__ else ""
    return f"\n## {title}\n\n{means}| field | type |\n|---|---|\n{rows}"


def _parts(named: dict[str, Any]) -> str:
    """The objects that others hold, each once."""
    text, done = "", set[str]()
    while left := sorted(named.keys() - done):
        for name in left:
            done.add(name)
            text += _section(name, named[name], named)
    return text


def _shown(of: Any, named: dict[str, Any]) -> str:
    """A type in the words of JSON."""
    plain = {
        str: "text",
        int: "integer",
        float: "number",
        bool: "true or false",
        type(None): "null",
        Any: "any",
    }
    if of in plain:
        return plain[of]
    arguments = [_shown(each, named) for each in getattr(of, "__args__", ())]
    origin = getattr(of, "__origin__", None)
    if origin is list:
        return f"list of {arguments[0]}"
    if origin is dict:
        return f"object of {arguments[1]}"
    if arguments:
        return " or ".join(arguments)
    named[of.__name__] = of
    return f"[{of.__name__}](#{of.__name__.lower()})"
