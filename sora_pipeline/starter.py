"""What ``init`` writes: an example manifest as people keep them, its images, and every setting with what it means."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.example import example_files
from sora_pipeline.private_files import make_private_file
from sora_pipeline.settings import SECRET_FIELDS, Settings, variable

ROWS = 3
"""Of the example manifest: enough to see how it is meant."""
MANIFEST, WORKBOOK, ENVIRONMENT, IGNORED = "manifest.csv", "manifest.xlsx", ".env", ".gitignore"
COLUMNS = {
    "clip_id": "Names the clip. Letters, digits, _ - and . Give rows one if you mean to edit them: without one an edited row is a new clip.",
    "prompt": "Required: what is to be seen and heard.",
    "image": "The first frame: a path beside this file, a URL, or s3://…; PNG, JPEG or WebP of the clip's size. May be empty.",
    "duration": "Seconds; `sora-pipeline models` says which. Empty: 4.",
    "size": "Width x height, for example 720x1280. Empty: 720x1280.",
    "model": "Empty: SORA_MODEL.",
    "takes": "How many clips of this row. Empty: 1.",
    "any other": "Carried through to the output, for your own use: campaign, channel, owner …",
}
_NOT_IN_GIT = (".env", ".sora/", "output/")


class StarterError(SoraPipelineError):
    """Raised where the folder cannot be written, or holds files that would be written over."""


def write_starter(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Write everything into a folder.

    Returns:
        Names of the files, and those that could not be made here, with the reason.

    Raises:
        StarterError: something of it is there already, or the folder cannot be written.
    """
    example = example_files()
    manifest = _first_rows(example[MANIFEST], ROWS)
    images = {name: content for name, content in example.items() if name.encode() in manifest}
    files = {MANIFEST: manifest, IGNORED: "".join(f"{name}\n" for name in _NOT_IN_GIT).encode(), **images}
    with_workbook = importlib.util.find_spec("openpyxl") is not None
    names = [*files, ENVIRONMENT, *([WORKBOOK] if with_workbook else [])]
    for name in names:
        if os.path.lexists(folder / name):  # a link that leads nowhere, too
            raise StarterError(
                f"{folder / name} is there already, and nothing of yours is written over; name another folder"
            )
    try:
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        make_private_file(folder / ENVIRONMENT, beginning=b"")
        (folder / ENVIRONMENT).write_text("\n".join(environment_lines()) + "\n", "utf-8")
        if with_workbook:
            _write_workbook(folder / WORKBOOK, manifest)
    except OSError as error:
        raise StarterError(f"{folder} cannot be written: {error.strerror or error}") from None
    missing = {} if with_workbook else {WORKBOOK: "pip install 'sora-pipeline[excel]' brings what writes it"}
    return names, missing


def environment_lines() -> Iterator[str]:
    """Every setting as a comment, with what it means and its default."""
    yield "# Settings of sora-pipeline. Take the # before a line away to set it. A variable that the environment sets too must be the same there."
    yield "# Keep this file to yourself: a key in it pays."
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None or name in SECRET_FIELDS else field.default
        yield ""
        yield f"# {field.description}"
        yield f"# {variable(name)}={str(default).lower() if isinstance(default, bool) else default}"


def _first_rows(csv: bytes, rows: int) -> bytes:
    return b"".join(csv.splitlines(keepends=True)[: rows + 1])


def _write_workbook(path: Path, manifest: bytes) -> None:
    """The same rows, and a sheet that explains the columns."""
    import csv

    from openpyxl import Workbook
    from openpyxl.styles import Alignment, Font

    book = Workbook()
    clips, columns = book.active, book.create_sheet("columns")
    assert clips is not None
    clips.title = "clips"
    for row in csv.reader(manifest.decode("utf-8-sig").splitlines()):
        clips.append([int(cell) if cell.isdecimal() else cell for cell in row])
    for name, means in COLUMNS.items():
        columns.append([name, means])
    for cell in clips[1]:
        cell.font = Font(bold=True)
    for sheet, widths in ((clips, {"A": 24, "B": 90}), (columns, {"A": 14, "B": 110})):
        for column, width in widths.items():
            sheet.column_dimensions[column].width = width
        for (cell,) in sheet.iter_rows(min_col=2, max_col=2):
            cell.alignment = Alignment(wrap_text=True, vertical="top")
    book.save(path)
