"""The Dagster home: its folder, its ``dagster.yaml``, and whether a daemon lives in it."""

import os
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.private_files import make_private_folder
from sora_pipeline.settings import dagster_home

if TYPE_CHECKING:
    import dagster as dg

HEARTBEAT_FRESH_S = 75.0
"""Dagster's daemons write a heartbeat every 30 seconds."""
_STOPPED = "daemon.stopped"


def prepare_home() -> Path:
    """Make the Dagster home, closed to other users, and let Dagster know of it in this process and its children."""
    home = dagster_home()
    make_private_folder(home)
    config = home / "dagster.yaml"
    if not config.exists():
        config.write_text((resources.files("sora_pipeline.headless") / "dagster.yaml").read_text("utf-8"))
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def daemon_is_alive(instance: "dg.DagsterInstance", home: Path) -> bool:
    """Whether some daemon evaluates sensors on this home: ``make dev`` in another terminal, for one.

    Heartbeats older than the last stop that we know of are those of a daemon that we stopped.
    """
    heartbeat = instance.get_daemon_heartbeats().get("SENSOR")
    if heartbeat is None:
        return False
    now = time.time()
    stopped = (home / _STOPPED).stat().st_mtime if (home / _STOPPED).exists() else 0.0
    # What is noted for a time to come says nothing: the clock was set back since.
    if not 0 <= now - heartbeat.timestamp < HEARTBEAT_FRESH_S:
        return False
    return stopped > now or heartbeat.timestamp > stopped


def note_daemon_stopped(home: Path) -> None:
    """Remember that our own daemon has ended."""
    (home / _STOPPED).touch()
