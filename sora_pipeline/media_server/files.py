"""Which file of an output a link means, if it is one that is shown at all."""

import stat
from dataclasses import dataclass
from pathlib import Path

from sora_pipeline.ledger import Ledger
from sora_pipeline.store import OutputStore, is_relative

_MEDIA_TYPES = {
    ("videos", ".mp4"): "video/mp4",
    (".posters", ".jpg"): "image/jpeg",
    (".images", ".jpg"): "image/jpeg",
}
"""What is shown, by folder and ending. Manifests, sidecars and snapshots are not."""
PRESIGNED_S = 900


@dataclass(frozen=True, slots=True)
class ShownFile:
    """A file on this machine.

    Attributes:
        path: Where it is, links resolved.
        media_type: What it is.
    """

    path: Path
    media_type: str


def shown_file(ledger: Ledger, production_id: str, path: str) -> ShownFile | str | None:
    """A file of a production's output: on this machine, or the presigned address of an object; None: there is none to be shown.

    Raises:
        StoreError: the output's storage cannot be asked, or makes no such addresses.
    """
    media_type = _media_type(path)
    production = ledger.productions.find(production_id)
    if media_type is None or production is None:
        return None
    store = OutputStore(production.output_uri)
    root = store.local_root
    if root is None:
        return store.presigned(path, PRESIGNED_S)
    local = _inside(root, path)
    return None if local is None else ShownFile(local, media_type)


def _media_type(path: str) -> str | None:
    if not is_relative(path):
        return None
    return _MEDIA_TYPES.get((path.partition("/")[0], Path(path).suffix))


def _inside(root: Path, path: str) -> Path | None:
    """The regular file of this path, if it lies below the root also where links lead."""
    try:
        real_root, real = root.resolve(strict=True), (root / path).resolve(strict=True)
        regular = stat.S_ISREG(real.stat().st_mode)
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that no file can have
        return None
    return real if regular and real.is_relative_to(real_root) else None
