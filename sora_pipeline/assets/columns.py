"""Columns of the two manifests as Dagster shows them: names, types, meanings, and which row of the input each comes from."""

from collections.abc import Iterable, Mapping

import dagster as dg

from sora_pipeline.manifest.columns import INPUT_COLUMNS

SCHEMA, LINEAGE = "dagster/column_schema", "dagster/column_lineage"
_INPUT = {
    "prompt": "what is to be seen",
    "clip_id": "names the clip's partition and folder",
    "image": "the first frame",
    "duration": "seconds",
    "size": "pixels",
    "model": "the provider's model",
    "takes": "how many clips of the row",
}
_OUTPUT = {
    "production": "the production's name",
    "status": "delivered, failed, ambiguous, in_flight, pending or invalid",
    "file_name": "the video, relative to the output",
    "video_path": "the video, absolute",
    "image_sha256": "hash of the first frame's file",
    "model_returned": "the model that the provider says it used",
    "account": "who submitted it and paid",
    "provider": "the wire format spoken",
    "take": "which take of its row",
    "prediction_id": "the provider's id of the last attempt",
    "provider_status": "the provider's own word for how that stands",
    "attempts": "how often the clip was begun",
    "error_kind": "why there is no video, in a word",
    "error_message": "why there is no video, and what to do",
    "retryable": "whether the same row may succeed when it is tried again",
    "submitted_at": "when the provider was asked",
    "completed_at": "when the provider was done",
    "stored_at": "when the checked file was in place",
    "queue_s": "seconds the provider kept it waiting",
    "render_s": "seconds it rendered",
    "cost_usd": "what the provider bills, all attempts together",
    "bytes": "size of the file",
    "sha256": "hash of the file",
    "width": "pixels, as decoded",
    "height": "pixels, as decoded",
    "fps": "frames a second, as decoded",
    "frames": "frames decoded",
    "duration_s": "seconds, as decoded",
    "video_codec": "for example h264",
    "has_audio": "whether there is a sound track",
    "c2pa": "whether C2PA provenance is attached",
    "poster_path": "a picture of it, relative to the output",
    "fingerprint": "of everything that decides how the video looks",
    "run_id": "the Dagster run that delivered it or failed last",
    "manifest_sha256": "of the manifest that it comes from",
    "row_number": "of that; the first row below the header is 1",
}
MEANINGS: Mapping[str, str] = {**_INPUT, **_OUTPUT}
_FROM = {"take": "takes"} | {name: name for name in INPUT_COLUMNS if name != "takes"}
"""Output column: the input column that it repeats."""
CARRIED = "of your manifest, carried through"


def input_schema(carried: Iterable[str]) -> dg.TableSchema:
    """The columns of an input manifest."""
    known = [dg.TableColumn(name, description=_INPUT[name]) for name in INPUT_COLUMNS]
    return dg.TableSchema([*known, *(dg.TableColumn(name, description=CARRIED) for name in carried)])


def output_schema(columns: Mapping[str, str]) -> dg.TableSchema:
    """The columns of an output manifest; where one comes from is said as well, since not every UI shows lineage of columns.

    Args:
        columns: Their types by name, in order.
    """
    return dg.TableSchema([dg.TableColumn(name, kind, _meaning(name)) for name, kind in columns.items()])


def _meaning(column: str) -> str:
    origin = _FROM.get(column)
    from_input = f"; column {origin} of prompt_manifest" if origin else ""
    return f"{MEANINGS.get(column, CARRIED)}{from_input}"


def lineage(columns: Iterable[str], prompt_manifest: dg.AssetKey) -> dg.TableColumnLineage:
    """Which columns of an output manifest come out of the input manifest."""
    origins = {name: _FROM.get(name) if name in MEANINGS else name for name in columns}
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(prompt_manifest, origin)]
            for name, origin in origins.items()
            if origin is not None
        }
    )
