"""``sora-pipeline demo``: the example manifest to real videos, in a folder of its own and by the sandbox alone."""

import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import typer

from sora_pipeline.cli.output import OK, note
from sora_pipeline.example import MANIFEST, write_example

_UVX = "archive-v0"
"""The folder of uv's cache that has the environments `uvx` makes."""
_MADE = frozenset({".sora", "output"})
"""What a production in the folder leaves there."""


def demo(
    ctx: typer.Context,
    folder: Path = typer.Argument(
        Path("sora-demo"), help="Folder that is made for it; one of an earlier demo goes on."
    ),
    as_json: bool = typer.Option(
        False, "--json", help="One JSON object on standard output and nothing else."
    ),
) -> None:
    """Make 8 example clips with the built-in sandbox, whatever provider is configured: it needs no key and costs nothing.

    Exit code: as of `run`.
    """
    command = _called_as()
    write_example(folder, beside=_MADE)
    os.chdir(folder)
    _sandbox_only(Path.cwd())
    code = _run(ctx, [MANIFEST, *(["--json"] if as_json else [])])
    if code == OK and not as_json:
        _what_next(folder, command)
    raise typer.Exit(code)


def _sandbox_only(folder: Path) -> None:
    """Let nothing be configured but the sandbox and this folder, here and in every process that is started from here."""
    from sora_pipeline.settings import API_KEY_VARIABLES, PREFIX, SANDBOX_PREFIX

    for name in list(os.environ):
        of_the_pipeline = name.startswith(PREFIX) and not name.startswith(SANDBOX_PREFIX)
        if of_the_pipeline or name in API_KEY_VARIABLES:
            del os.environ[name]
    os.environ |= {"SORA_PROVIDER": "sandbox", "DAGSTER_HOME": str(folder / ".sora")}


def _run(ctx: typer.Context, arguments: list[str]) -> int:
    """What `run` with these arguments exits with."""
    commands: Any = ctx.find_root().command
    return int(commands.main(["run", *arguments], standalone_mode=False) or OK)


def _called_as() -> str:
    """What calls this program in another folder, too."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m sora_pipeline"
    if _UVX in Path(sys.prefix).parts:
        return f"uvx {called.name}"
    found = shutil.which(called.name)
    return called.name if found and Path(found).samefile(called) else shlex.quote(str(called.absolute()))


def _what_next(folder: Path, command: str) -> None:
    """Two commands that work as they are printed."""
    shows = "dev" if importlib.util.find_spec("dagster_webserver") else "status"
    means = {
        "dev": "the Dagster UI with these clips; Ctrl-C ends it",
        "status": "how far everything is, and what it cost",
    }
    check = f"{command} check {MANIFEST}"
    note("")
    note("next:")
    note(f"  cd {shlex.quote(str(folder))}")
    note(f"  {check}    # any manifest: every problem of every row, and what it will cost")
    note(f"  {f'{command} {shows}':{len(check)}}    # {means[shows]}")
