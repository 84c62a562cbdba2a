"""Which commands work on a home at this moment, and with which settings: what one submits, another one's runs may pay for."""

import fcntl
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sora_pipeline.agreement import DisagreementError, differences
from sora_pipeline.run_locks import is_held

FOLDER = "commands"


@contextmanager
def at_work(home: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Work on a home while the body goes on.

    Two commands that begin together have no daemon yet that could say what it works with, and each takes up what is pending.
    Each holds a lock on a file for as long as it lives, however it ends.

    Args:
        home: The Dagster home.
        settings: What the command works with, as ``settings_shown`` has it.

    Raises:
        DisagreementError: another command works there with other settings.
    """
    folder = home / FOLDER
    folder.mkdir(exist_ok=True)
    mine = folder / f"{uuid.uuid4().hex}.json"
    with ExitStack() as stack:
        with (folder / "beginning.lock").open("w") as beginning:
            fcntl.flock(beginning, fcntl.LOCK_EX)
            for path in folder.glob("*.json"):
                with suppress(FileNotFoundError):  # it ends just now
                    _require_same(home, path, settings)
            file = stack.enter_context(mine.open("w"))
            stack.callback(mine.unlink, missing_ok=True)
            fcntl.flock(file, fcntl.LOCK_EX)
            json.dump(dict(settings), file)
            file.flush()
        yield


def _require_same(home: Path, path: Path, settings: Mapping[str, Any]) -> None:
    with path.open() as file:
        if not is_held(file.fileno()):  # of a command that was killed
            path.unlink(missing_ok=True)
            return
        different = differences(settings, json.load(file))
    if different:
        raise DisagreementError(
            f"another command is at work on {home} with other settings than this one, and each would do the other's work with its "
            f"own: {'; '.join(different)}. Give this command the other's settings, wait until that one ends, or give this one a home of "
            "its own (DAGSTER_HOME)"
        )
