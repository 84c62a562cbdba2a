"""``sora-pipeline dev``: the Dagster UI and daemon on the project's own home."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import typer

from sora_pipeline.cli.output import BAD_INPUT, note, problem


def dev(
    host: str = typer.Option("127.0.0.1", help="Address of the UI."),
    port: int = typer.Option(3000, help="Port of the UI."),
) -> None:
    """Open the Dagster UI, with sensors and schedules at work, on the same home as `sora-pipeline run`."""
    from sora_pipeline.headless.home import daemon_is_alive, note_daemon_stopped, open_instance, prepare_home
    from sora_pipeline.settings import Settings

    Settings.from_env()
    if importlib.util.find_spec("dagster_webserver") is None:
        problem("the Dagster UI is not installed: pip install 'sora-pipeline[ui]'")
        raise typer.Exit(BAD_INPUT)
    home = prepare_home()
    with open_instance(home) as instance:
        if daemon_is_alive(instance, home):
            problem(
                f"a Dagster daemon is at work on {home} already; use its UI, or stop it first "
                "(one that was killed counts as alive for 75 seconds)"
            )
            raise typer.Exit(BAD_INPUT)
    note(f"Dagster UI on http://{host}:{port} with the home {home}; Ctrl-C ends it")
    module = ["-m", "sora_pipeline.definitions", "-d", str(Path.cwd())]
    executable = str(Path(sys.executable).with_name("dagster"))
    command = [executable, "dev", "-h", host, "-p", str(port), *module]
    # A shell that puts us into the background has SIGINT ignored, children inherit that, and Dagster stops by SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    child = subprocess.Popen(command, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    try:
        code = child.wait()
    except KeyboardInterrupt:
        child.terminate()
        code = child.wait()
    finally:
        note_daemon_stopped(home)
    raise typer.Exit(code)
