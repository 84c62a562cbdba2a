"""What Dagster's storage has of ours: metadata keys by asset, tags, names."""

import ast
from collections.abc import Iterator
from pathlib import Path

import sora_pipeline
from docs_reference.columns import output_meanings
from docs_reference.markdown import code, table
from sora_pipeline import names
from sora_pipeline.names import PipelineNames
from sora_pipeline.video import VideoFacts

ASSETS = Path(sora_pipeline.__file__).parent / "assets"
WHERE = {
    "generations": {
        "metadata.py": ("generation", "_submission"),
        "clip_pages.py": ("generation", "_all_attempts", "_asked"),
    },
    "videos": {
        "metadata.py": ("video", "_submission"),
        "clip_pages.py": ("video", "_all_attempts", "_pictures", "_input_image", "_asked", "_without_server"),
    },
    "a clip that failed": {"metadata.py": ("ended", "_submission")},
    "prompt_manifest": {"prompt_manifest.py": ("_metadata", "reading_metadata")},
    "video_manifest": {"video_manifest.py": ("_metadata", "_metadata_of_finish")},
}
"""Which functions make the metadata of what."""
MEANINGS = {
    "account": "Whose slots and whose money it is.",
    "amends": "Whether the file only mends rows of its production.",
    "attempt": "Which attempt of the clip it is.",
    "budget_given": "Whether the budget was named for this production, and not taken from the settings.",
    "budget_usd": "What the production may cost.",
    "clips": "How many there are.",
    "clips_to_pay": "How many are still to be paid for.",
    "committed_usd": "Spent, and reserved for submits that are planned or under way.",
    "costs": "By day and model, as a table.",
    "cost_usd": "What this attempt costs.",
    "csv": "The output manifest as CSV.",
    "estimate_usd": "What all clips of the manifest cost by the catalogue.",
    "gallery": "The page to look at.",
    "images_not_read": "Rows whose images could not be read this time, and stand as they were.",
    "invalid_rows": "Rows that cannot be used.",
    "ledger_id": "Which ledger has it.",
    "manifest": "The manifest that was read, or written.",
    "output": "The folder of the production.",
    "pipeline": "The pipeline's name; empty: the built-in one.",
    "poll_url": "Where the provider said to ask for the prediction.",
    "possibly_billed": "Whether it may have cost money all the same.",
    "poster": "A picture of the video.",
    "finished": "Whether the production has finished.",
    "finished_at": "When its last clip came to an end.",
    "input_image": "The image it begins with.",
    "play": "A link that plays it.",
    "storyboard": "Five frames, side by side.",
    "understood": "How the file was read, where that was not plain.",
    "preview": "The first rows, as a table.",
    "problems": "What is wrong with which rows, as a table.",
    "request": "What was sent to the provider, without image bytes and key.",
    "rows": "Some clips and how they stand, as a table.",
    "simulated": "Whether it is the sandbox's, and its dollars are no money.",
    "spent_usd": "Billed so far.",
    "state": "Of the last attempt.",
    "still_to_pay_usd": "What the pending clips will cost.",
    "submitted_by_this_run": "Whether this run paid for it, or only found it.",
    "video": "The file.",
}
"""Of keys that are no columns of the output manifest."""
INTRODUCTION = """# Metadata, tags and names in Dagster

Numbers (`cost_usd`, `render_s`, `spent_usd`, …) are plotted by Dagster over time. A clip's partition key is `production:clip_id`.
"""


def page() -> str:
    """The page."""
    sections = [f"\n## Metadata of {_title(asset)}\n\n{_keys(asset)}" for asset in WHERE]
    return f"{INTRODUCTION}{''.join(sections)}\n## Tags of runs\n\n{_tags()}\n## Names\n\n{_names()}"


def _title(asset: str) -> str:
    return asset if " " in asset else code(asset)


def _keys(asset: str) -> str:
    meanings = output_meanings() | MEANINGS
    written = (_written(ASSETS / file, functions) for file, functions in WHERE[asset].items())
    keys = sorted({key for of_file in written for key in of_file})
    return table(["key", "meaning"], [[code(key), meanings.get(key, "")] for key in keys])


def _written(path: Path, functions: tuple[str, ...]) -> Iterator[str]:
    """The keys that functions put into their metadata."""
    for function in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(function, ast.FunctionDef) and function.name in functions:
            records = {
                id(child) for each in ast.walk(function) if _is_record(each) for child in ast.walk(each)
            }
            for node in ast.walk(function):
                if id(node) not in records:
                    yield from _keys_of(node)


def _is_record(node: ast.AST) -> bool:
    """Whether it is a row of a table among the metadata, whose keys are columns."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "TableRecord"
    )


def _keys_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Dict):
        yield from (key.value for key in node.keys if isinstance(key, ast.Constant))
        if any(isinstance(value, ast.Call) and ast.unparse(value.func) == "asdict" for value in node.values):
            yield from VideoFacts.__dataclass_fields__
    elif (
        isinstance(node, ast.Subscript)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.slice, ast.Constant)
    ):
        yield node.slice.value


def _tags() -> str:
    tags = [
        value for name, value in vars(names).items() if name.endswith("_TAG") and value.startswith("sora/")
    ]
    meanings = {
        names.BATCH_TAG: "The batch that the run owns.",
        names.PRODUCTION_TAG: "The production it works for.",
        names.REQUESTED_BY_TAG: "Which sensor or command asked for it.",
        names.CLIPS_TAG: "How many clips it is about.",
    }
    return table(["tag", "meaning"], [[code(tag), meanings.get(tag, "")] for tag in tags])


def _names() -> str:
    built_in, acme = PipelineNames(), PipelineNames("acme")
    parts = {
        "assets": lambda of: [of.prompt_manifest, of.generations, of.videos, of.video_manifest],
        "partitions": lambda of: [of.clips],
        "jobs": lambda of: sorted(of.jobs),
        "resource": lambda of: [of.run_lock],
    }
    rows = [[part, _shown(each(built_in)), _shown(each(acme))] for part, each in parts.items()]
    return table(["", "built-in pipeline", 'VideoPipeline("acme")'], rows)


def _shown(things: list[object]) -> str:
    return ", ".join(
        code(thing.to_user_string() if hasattr(thing, "to_user_string") else thing) for thing in things
    )
