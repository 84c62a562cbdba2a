"""The columns of manifests that are read, and of those that are written."""

from docs_reference.markdown import code, table
from docs_reference.meanings import attributes, members
from sora_pipeline.clip import Clip
from sora_pipeline.manifest.columns import INPUT_COLUMNS
from sora_pipeline.manifest.limits import DEFAULT_DURATION, DEFAULT_SIZE
from sora_pipeline.manifest.output import OutputAbout, output_schema
from sora_pipeline.manifest.row_model import ParsedRow
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.status import ClipStatus
from sora_pipeline.video import VideoFacts

DEFAULTS = {
    "prompt": "required",
    "clip_id": "derived from the row's content",
    "duration": code(DEFAULT_DURATION),
    "size": code(DEFAULT_SIZE),
    "model": code("SORA_MODEL"),
    "takes": code(1),
}
INPUT = """# Columns

## Of a manifest that is read

Any other column is carried through to the output as it is. Headers, formats and limits: [manifests](../manifests.md).
"""
OUTPUT = """
## Of `metadata.parquet` and `manifest.csv`

One row a clip, whatever became of it, sorted by `clip_id`; your own columns come after these. Times are UTC.
"""
STATUS = "\n## `status`\n\n"
KINDS = """
## `error_kind`

Of a clip without a video. Budgets, pauses and the like, and failures of our own, have further words; their sentences are in
`error_message`.
"""


def page() -> str:
    """The page."""
    status = table(["value", "meaning"], [[code(value), text] for value, text in members(ClipStatus).items()])
    kinds = table(["value", "meaning"], [[code(value), text] for value, text in members(ErrorKind).items()])
    return f"{INPUT}\n{input_table()}{OUTPUT}\n{output_table()}{STATUS}{status}{KINDS}\n{kinds}"


def input_table() -> str:
    """One row a column that means something on reading."""
    meaning = attributes(ParsedRow)
    rows = [[code(name), DEFAULTS.get(name, "none"), meaning.get(name, "")] for name in INPUT_COLUMNS]
    return table(["column", "default", "meaning"], rows)


def output_table() -> str:
    """One row a column that is written."""
    meaning = output_meanings()
    rows = [[code(field.name), code(field.type), meaning.get(field.name, "")] for field in output_schema()]
    return table(["column", "type", "meaning"], rows)


def output_meanings() -> dict[str, str]:
    """What the classes that a row is made of say of their attributes; what a clip asked for comes last."""
    found: dict[str, str] = {}
    for owner in (OutputAbout, ClipOutcome, VideoFacts, Clip):
        found = {**attributes(owner), **found}
    return found
