"""The Dagster home: its folder, its ``dagster.yaml``, and whether a daemon lives in it."""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.media_server.keys import make_key
from sora_pipeline.private_files import make_private_folder
from sora_pipeline.settings import dagster_home
from sora_pipeline.uris import is_unicode

if TYPE_CHECKING:
    import dagster as dg

HEARTBEAT_FRESH_S = 75.0
"""Dagster's daemons write a heartbeat every 30 seconds."""
_STOPPED = "daemon.stopped"
_OPENING = "opening.lock"
_MADE_TWICE = "more than one head present"
"""What Dagster says of a database that two processes have made together."""


class HomeError(SoraPipelineError):
    """Raised where the Dagster home cannot be used; says why."""


def prepare_home() -> Path:
    """Make the Dagster home, closed to other users, and let Dagster know of it in this process and its children.

    Raises:
        HomeError: it cannot be made or written to.
    """
    home = dagster_home()
    if not is_unicode(str(home)):
        raise HomeError(f"the name of the Dagster home {home} is not UTF-8 text", "home")
    if "?" in str(home):  # Dagster would put its databases beside it
        raise HomeError(
            f"the name of the Dagster home {home} holds a question mark, at which addresses of databases end",
            "home",
        )
    try:
        make_private_folder(home, mark="dagster.yaml")
        config = home / "dagster.yaml"
        if not config.exists():
            _write_whole(
                config, (resources.files("sora_pipeline.headless") / "dagster.yaml").read_text("utf-8")
            )
        make_key(home)
    except OSError as error:
        raise HomeError(
            f"the Dagster home {home} cannot be used: {error.strerror or error}", "home"
        ) from None
    os.environ["DAGSTER_HOME"] = str(home)
    return home


def _write_whole(path: Path, text: str) -> None:
    """Write a file that others may read at any moment: all of it or nothing is there."""
    whole = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        whole.write_text(text)
        whole.replace(path)
    finally:
        whole.unlink(missing_ok=True)


@contextmanager
def open_instance(home: Path) -> "Iterator[dg.DagsterInstance]":
    """Dagster's storage in the home.

    Raises:
        HomeError: it cannot be opened; mostly for what stands in ``dagster.yaml``.
    """
    import dagster as dg

    try:
        with _alone(home):
            instance = dg.DagsterInstance.get()
    except Exception as error:  # of Dagster, of YAML, of a database's driver
        raise HomeError(_why_closed(home, error), "home") from None
    with instance:
        yield instance


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Keep other commands from opening the home meanwhile.

    The first one has Dagster make its databases. Of two that make them together each notes the version, and Dagster opens
    no database that has it twice.
    """
    with ExitStack() as stack:
        with suppress(OSError):  # where nothing can be written, nothing is made
            fcntl.flock(stack.enter_context((home / _OPENING).open("w")), fcntl.LOCK_EX)
        yield


def _why_closed(home: Path, error: Exception) -> str:
    if _MADE_TWICE in str(error) and (home / "schedules").is_dir():
        return (
            f"two processes made Dagster's databases in {home} at the same moment, and Dagster opens them no more: "
            f"stop what works with this home, and move its folders history and schedules away; what was paid for is in "
            f"the ledger, and stays"
        )
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return f"Dagster cannot open {home} with its dagster.yaml: {reason}"


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
    """Remember that our own daemon has ended; where that cannot be written, it counts as alive for a while."""
    with suppress(OSError):
        (home / _STOPPED).touch()
