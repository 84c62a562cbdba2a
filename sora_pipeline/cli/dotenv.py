"""Settings from the file ``.env`` of the present folder, where there is one.

Dagster's own processes read that file by themselves, and let it win over the environment. So that no process goes by another value than
this one, a variable that is set in both must be the same in both.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path

from sora_pipeline.settings import API_KEY_VARIABLES, PREFIX, SettingsError

NAME = ".env"
_BASE_URL = "SORA_BASE_URL"
_OURS = (PREFIX, "DAGSTER_HOME", "AWS_", "GOOGLE_", "AZURE_", "FSSPEC_")


def read_dotenv() -> None:
    """Put what the file says of our settings, and of object stores, into the environment of this process and those that it starts.

    Raises:
        SettingsError: one line for everything in it that cannot be taken as it stands.
    """
    file = Path(NAME)
    if not file.is_file():
        return
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise SettingsError(f"{file.absolute()} cannot be read: {why}") from None
    values: dict[str, str] = {}
    problems = list(_problems(text, values))
    if _BASE_URL in values and values[_BASE_URL] != os.environ.get(_BASE_URL) and not _has_key(values):
        problems.append(
            f"{_BASE_URL} is set here, and the key is in the environment, which would send it to that address; set both in one place"
        )
    if problems:
        raise SettingsError("\n".join(f"{file.absolute()}: {problem}" for problem in problems))
    os.environ |= values


def _problems(text: str, values: dict[str, str]) -> Iterator[str]:
    """What is wrong with each line; what is not goes into the values."""
    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        line, name, value = binding.original.line, binding.key, binding.value
        if binding.error:
            yield f"line {line} cannot be read: write NAME=value"
        elif name is None or not _is_ours(name.upper()):
            continue
        elif name != name.upper():
            yield f"line {line}: {name} is no variable; write {name.upper()}"
        elif value is None:
            yield f"line {line}: {name} has no value; write {name}=value, or take the line away"
        elif "$" in value:
            yield f"line {line}: {name} holds a $, which Dagster would take for another variable; write what is meant itself"
        elif value and os.environ.get(name) not in (None, "", value):
            yield (
                f"line {line}: {name} has another value here than in the environment, and Dagster's processes would go by this one; "
                "unset one of them"
            )
        elif value:
            values[name] = value


def _is_ours(name: str) -> bool:
    return name in API_KEY_VARIABLES or name.startswith(_OURS)


def _has_key(values: dict[str, str]) -> bool:
    named = [name for name in API_KEY_VARIABLES if os.environ.get(name, "").strip()]
    return not named or any(name in values for name in API_KEY_VARIABLES)
