"""``sora-pipeline init``: a folder to begin from."""

import shlex
from pathlib import Path

import typer

from sora_pipeline.cli.output import AS_JSON, console, note, print_json
from sora_pipeline.starter import write_starter


def init(
    folder: Path = typer.Argument(help="Made where it is not there. Nothing in it is written over."),
    as_json: bool = AS_JSON,
) -> None:
    """Write a folder to begin from: an example manifest as CSV and Excel workbook, its images, and `.env` with every setting."""
    written, left_out = write_starter(folder)
    if as_json:
        print_json({"folder": str(folder.absolute()), "written": written, "left_out": left_out})
        return
    for name, why in left_out.items():
        note(f"{name} is not written: {why}")
    console.print(f"{folder}: {', '.join(written)}")
    console.print("next:")
    console.print(f"  cd {shlex.quote(str(folder))}")
    console.print("  sora-pipeline check manifest.csv   # every problem of every row, and what it will cost")
    console.print(
        "  sora-pipeline run manifest.csv     # makes them; with the built-in sandbox until .env names a provider"
    )
