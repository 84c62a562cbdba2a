"""The files of an output manifest made the plain way, with everything in memory: what those that are written bit by bit must equal."""

import csv
import io
import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from sora_pipeline.manifest.columns import INPUT_COLUMNS
from sora_pipeline.manifest.formulas import escaped_name, is_formula
from sora_pipeline.manifest.output import INVALID_ROW, OutputRow, output_schema
from sora_pipeline.manifest.snapshot import InvalidRow, Snapshot
from sora_pipeline.outcome import ClipOutcome

FAILED_COLUMNS = ["clip_id", *(name for name in INPUT_COLUMNS if name != "clip_id")]


def table_of(snapshot: Snapshot, rows: list[OutputRow], production: str) -> pa.Table:
    cells = sorted((cells_of(snapshot, row, production) for row in rows), key=lambda row: str(row["clip_id"]))
    schema = output_schema()
    for name in snapshot.carried_columns:
        schema = schema.append(pa.field(name, carried_type([row["carried"].get(name) for row in cells])))
    columns = []
    for field in schema:
        if field.name in snapshot.carried_columns:
            values = [row["carried"].get(field.name) for row in cells]
            if pa.types.is_string(field.type):
                values = [text_of(value) for value in values]
        else:
            values = [row.get(field.name) for row in cells]
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def cells_of(snapshot: Snapshot, row: OutputRow, production: str) -> dict[str, Any]:
    subject, standing = row
    about = {"production": production, "manifest_sha256": snapshot.manifest_sha256}
    if isinstance(standing, ClipOutcome):
        assert not isinstance(subject, InvalidRow)
        return {
            **asdict(standing),
            **(asdict(standing.facts) if standing.facts else {}),
            **about,
            "file_name": standing.file_name if standing.status == "delivered" else None,
            "prompt": subject.prompt,
            "image": subject.image,
            "image_sha256": subject.image_sha256,
            "model": subject.model,
            "size": str(subject.size),
            "duration": subject.duration,
            "take": subject.take,
            "cost_usd": None if standing.cost_usd is None else round(standing.cost_usd, 4),
            "fingerprint": standing.fingerprint or subject.fingerprint,
            "row_number": subject.row_number,
            "carried": subject.carried,
        }
    assert isinstance(subject, InvalidRow)
    texts = {
        name: text_of(subject.values[name])
        for name in ("prompt", "model", "size")
        if str(subject.values.get(name) or "").strip()
    }
    return {
        **about,
        **texts,
        "clip_id": standing,
        "status": "invalid",
        "duration": subject.values["duration"] if type(subject.values.get("duration")) is int else None,
        "attempts": 0,
        "error_kind": INVALID_ROW,
        "error_message": reasons_of(subject),
        "retryable": False,
        "row_number": subject.row_number,
        "carried": subject.values,
    }


def carried_type(values: list[Any]) -> pa.DataType:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.float64()
    if kinds == {list}:
        items = {type(item) for value in values if value for item in value if item is not None}
        return pa.list_({str: pa.string(), int: pa.int64()}[items.pop()]) if len(items) == 1 else pa.string()
    plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return plain.get(kinds.pop(), pa.string()) if len(kinds) == 1 else pa.string()


def text_of(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def reasons_of(bad: InvalidRow) -> str:
    return " ".join(
        f"row {problem.row_number + 1}, {problem.column}: {problem.message}." for problem in bad.problems
    )


def csv_of(table: pa.Table) -> bytes:
    rows = [[csv_cell(row[name]) for name in table.column_names] for row in table.to_pylist()]
    return without_formulas(table.column_names, rows)


def failed_csv_of(snapshot: Snapshot, rows: list[OutputRow], production: str) -> bytes:
    header = ["production", *FAILED_COLUMNS, *snapshot.carried_columns, "error_message"]
    found: list[tuple[int, list[Any]]] = []
    for subject, standing in rows:
        if isinstance(subject, InvalidRow):
            values = {**subject.values, "clip_id": standing, "error_message": reasons_of(subject)}
        elif isinstance(standing, ClipOutcome) and standing.status == "failed":
            asked = {name: getattr(subject, name, None) for name in FAILED_COLUMNS}
            values = {**asked, "size": str(subject.size), "duration": str(subject.duration)}
            values |= {**subject.carried, "error_message": standing.error_message}
        else:
            continue
        found.append((subject.row_number, [production, *(csv_text(values.get(name)) for name in header[1:])]))
    found.sort(key=lambda row: row[0])
    return "\ufeff".encode() + without_formulas(header, [cells for _, cells in found])


def csv_cell(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else csv_text(value)


def csv_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return text_of(value)


def without_formulas(header: list[str], rows: list[list[Any]]) -> bytes:
    names = [escaped_name(name) for name in header]
    marks = []
    for cells in rows:
        at = [i for i, cell in enumerate(cells) if isinstance(cell, str) and is_formula(cell)]
        marks.append(json.dumps([names[i] for i in at], ensure_ascii=False) if at else "")
        for i in at:
            cells[i] = f"'{cells[i]}"
    if names != header or any(marks):
        names.append("escaped_columns")
        for cells, mark in zip(rows, marks, strict=True):
            cells.append(mark)
    lines: list[str] = []
    for record in [names, *rows]:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(record)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines).encode()
