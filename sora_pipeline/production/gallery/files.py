"""The files beside the page: named by their content, written once, and removed when no page can ask for them any more."""

import hashlib
import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

from sora_pipeline.store import OutputStore, StoreError

FOLDER = "gallery"
RETIRED = f"{FOLDER}/.retired.json"  # hidden: no part of the data set that the folder is
GRACE = timedelta(hours=1)
"""How long files stay that only earlier pages name: somebody may have one of these open, and scroll on."""
_OURS = re.compile(rf"{FOLDER}/(?:set|list|details)-[0-9a-f]{{20}}\.js")
_WRITERS = 8  # files on their way to a remote store at the same time


class GalleryFiles:
    """Writes the files of one publish, of which most are there already.

    Args:
        store: The output.
        current_set: The set of files that the page names which is there now; None: there is none.
        now: What time it is.

    Raises:
        StoreError: the store cannot be read.
    """

    def __init__(self, store: OutputStore, current_set: str | None, now: datetime) -> None:
        self._store, self._now = store, now
        self._retired = {} if current_set is None else _retired_since(store, current_set)
        self._present = {name for name in store.names(FOLDER) if _OURS.fullmatch(name)}
        self._remove_retired()
        self._named: set[str] = set()
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="gallery")
        self._writing: list[Future[None]] = []

    def __enter__(self) -> "GalleryFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._writers.shutdown(cancel_futures=True)

    def put(self, kind: str, content: bytes) -> str:
        """Write a file unless it is there; its name.

        Raises:
            StoreError: this one, or one before it, cannot be written.
        """
        name = f"{FOLDER}/{kind}-{hashlib.sha256(content).hexdigest()[:20]}.js"
        if name not in self._named and name not in self._present:
            if len(self._writing) >= 2 * _WRITERS:
                self._writing.pop(0).result()
            self._writing.append(self._writers.submit(self._store.replace_bytes, name, content))
        self._named.add(name)
        return name

    def close_set(self, content: bytes) -> str:
        """Write the file that names all others, once these are there; its name, for the page.

        Raises:
            StoreError: something cannot be written.
        """
        self._wait()
        name = self.put("set", content)
        self._wait()
        unnamed = sorted(self._present - self._named)
        retired = {each: self._retired.get(each, self._now).isoformat() for each in unnamed}
        self._store.replace_bytes(RETIRED, json.dumps({"set": name, "retired": retired}, indent=0).encode())
        return name

    def _wait(self) -> None:
        while self._writing:
            self._writing.pop(0).result()

    def _remove_retired(self) -> None:
        for name in sorted(self._present & self._retired.keys()):
            if self._now - self._retired[name] > GRACE:
                with suppress(StoreError):  # it stays, and the next publish tries again
                    self._store.remove(name)
                    self._present.remove(name)


def _retired_since(store: OutputStore, current_set: str) -> dict[str, datetime]:
    """Since when no page names these files; nothing where that was noted for a page that never came to be."""
    try:
        noted = json.loads(store.read_bytes(RETIRED))
        if noted["set"] != current_set:
            return {}
        return {str(name): datetime.fromisoformat(since) for name, since in noted["retired"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # lost or damaged: their hour begins anew
