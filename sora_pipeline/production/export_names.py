"""Names of exported videos: made from a template, and fit for every common file system.

A name must mean one file wherever the folder is copied to: macOS takes composed and decomposed letters for the same, macOS and Windows
upper and lower case, and Windows gives some names to devices.
"""

import re
import unicodedata
from collections.abc import Collection, Mapping
from string import Formatter
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.manifest.columns import only_alike
from sora_pipeline.store import OutputStore
from sora_pipeline.suggestions import did_you_mean

USUAL_NAME = "{clip_id}.mp4"
FIELDS = ("production", "clip_id", "row_number", "take", "model", "size", "duration")
"""What names may hold, besides the columns that the manifest carries through."""
_VIDEO = ".mp4"
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_OF_DEVICES = re.compile(
    r"(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]|conin\$|conout\$) *(?:\..*)?", re.IGNORECASE | re.DOTALL
)
"""Names that Windows gives to devices, whatever their ending."""
_MOST_BYTES = 200
"""Of one part of a path: file systems take 255."""
_MOST_DIGITS = 3
"""Of a number in a format."""


class ExportError(SoraPipelineError):
    """Raised where videos cannot be exported as somebody asks for; nothing was copied."""


class NoColumnError(ExportError):
    """Raised where names hold a column that the manifest does not carry through.

    Attributes:
        column: What they hold.
    """

    def __init__(self, sentence: str, column: str, code: str = "", **facts: str) -> None:
        super().__init__(sentence, code, **facts)
        self.column = column


class _Columns(Formatter):
    """Python's format strings whose names are columns, whatever is in them: nothing is looked up in a value."""

    def get_field(self, field_name: str, args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        """The value of a column."""
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        """A value, in a width that a name can have."""
        if any(len(digits) > _MOST_DIGITS for digits in re.findall(r"\d+", format_spec)):
            raise ValueError(f"{format_spec!r} is wider than a name can be")
        return str(super().format_field(value, format_spec))


class FileNames:
    """Makes names of files from a template such as ``{campaign}/{row_number:03}-{clip_id}.mp4``.

    Args:
        template: Python's format strings; slashes in it, but not in what it is filled with, make folders.
        carried: Names of the columns that the manifest carries through.
        production: Whose manifest, for whoever exports several.

    Raises:
        ExportError: it names something else.
    """

    def __init__(self, template: str, carried: Collection[str] = (), production: str = "") -> None:
        if not template.strip(" ./"):
            raise ExportError(f"the name {template!r} says nothing; write {USUAL_NAME} for one")
        self._template = template if template.endswith(_VIDEO) else f"{template}{_VIDEO}"
        try:
            names = [name for _, name, _, _ in Formatter().parse(template) if name is not None]
        except ValueError as error:
            raise ExportError(f"the name {template!r} cannot be read: {error}") from None
        self._columns: dict[str, str] = {}
        for name in names:
            column = only_alike(name, (*FIELDS, *carried))
            if column is not None:
                self._columns[name] = column
            else:
                whose = f"the manifest of the production {production}" if production else "the manifest"
                may = ", ".join(f"{{{each}}}" for each in (*FIELDS, *carried))
                raise NoColumnError(
                    f"the name {template!r} holds {{{name}}}, which is no column that {whose} carries through; it may hold {may}."
                    f"{did_you_mean(name, (*FIELDS, *carried))}",
                    name,
                )

    def of(self, production_id: str, clip: Clip) -> str:
        """The name of a clip's video, relative to where it goes.

        Raises:
            ExportError: a value cannot be written as the template says.
        """
        values: dict[str, Any] = {
            "production": production_id,
            "clip_id": clip.clip_id,
            "row_number": clip.row_number,
            "take": clip.take,
            "model": clip.model,
            "size": str(clip.size),
            "duration": clip.duration,
        }
        values = {name: "" if value is None else value for name, value in clip.carried.items()} | values
        filled = {name: values.get(column, "") for name, column in self._columns.items()}
        try:
            parts = [_part(part, filled) for part in self._template.split("/")]
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"the name {self._template!r} cannot be made for the clip {clip.clip_id}: {error}"
            ) from None
        return "/".join(part for part in parts if part)


def folded(name: str) -> str:
    """A form that is the same for all names that some file system takes for the same."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", name).casefold())


class PresentNames:
    """What lies in a store already, found by any name that some file system takes for its own.

    Args:
        store: The store; each folder is listed once, when it is asked for.
    """

    def __init__(self, store: OutputStore) -> None:
        self.store = store
        self._listed: dict[str, dict[str, list[str]]] = {}

    def alike(self, name: str) -> list[str]:
        """The paths that some file system would take for this one.

        Raises:
            StoreError: the store cannot be asked.
        """
        found = [""]
        for part in name.split("/"):
            found = [each for folder in found for each in self._in(folder).get(folded(part), [])]
        return found

    def _in(self, folder: str) -> Mapping[str, list[str]]:
        if folder not in self._listed:
            listed = self._listed[folder] = {}
            for path in self.store.names(folder):
                listed.setdefault(folded(path.rpartition("/")[2]), []).append(path)
        return self._listed[folder]


def _part(template: str, values: Mapping[str, Any]) -> str:
    """One part of a path: no separator, nothing that some system does not take, and nothing hidden."""
    filled = unicodedata.normalize("NFC", _Columns().vformat(template, (), values))
    text = _NOT_IN_NAMES.sub("_", filled)
    suffix = _VIDEO if text.endswith(_VIDEO) else ""
    stem = text.removesuffix(suffix).strip(" .").encode()[: _MOST_BYTES - len(suffix)]
    name = stem.decode("utf-8", "ignore").rstrip(" .")
    if _OF_DEVICES.fullmatch(name):
        name = f"_{name}"
    return f"{name or '_'}{suffix}" if name or suffix else ""
