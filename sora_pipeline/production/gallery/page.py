"""The page itself, and the one pass over all rows that writes what it shows."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

from sora_pipeline.ledger import Production
from sora_pipeline.production.gallery.chunks import Chunks, as_script
from sora_pipeline.production.gallery.files import GalleryFiles
from sora_pipeline.production.gallery.rows import (
    DETAILS,
    LISTED,
    MAX_CARRIED_CHARS,
    MAX_LISTED_CARRIED,
    Cells,
    GalleryRow,
    cells_of,
)
from sora_pipeline.status import ClipStatus
from sora_pipeline.store import OutputStore

GALLERY = "gallery.html"

LISTED_ROWS, DETAILED_ROWS = 1000, 250
MAX_FILE_CHARS = 500_000
MAX_CHOICES = 50
"""A carried column of more different values can be searched in, but not chosen from."""

_STATUS, _SIZE, _COST = (LISTED.index(name) for name in ("status", "size", "cost"))
_TEMPLATES = resources.files("sora_pipeline.production.gallery") / "templates"
_SCRIPTS = ("data.js", "picks.js", "find.js", "grid.js", "large.js", "page.js")
_NAMED_SET = re.compile(rb'data-set="(gallery/set-[0-9a-f]{20}\.js)"')


def gallery_page(
    store: OutputStore,
    production: Production,
    rows: Iterable[GalleryRow],
    carried_columns: Sequence[str],
    now: datetime,
) -> bytes:
    """Write the data of the gallery, and return the page, which is whole as soon as it is put under its name.

    Files that are as they were are not written again. Those that an earlier page names stay for an hour.

    Args:
        store: The output. The page refers to what lies there by relative paths, so the folder can be moved.
        production: What is shown.
        rows: Every row once, in the manifest's order; read once, and not kept.
        carried_columns: Names of the columns carried through.
        now: What time it is.

    Raises:
        StoreError: the output cannot be written.
    """
    totals = _Totals(carried_columns[:MAX_LISTED_CARRIED])
    with GalleryFiles(store, _set_of(store), now) as files:
        listed = Chunks(
            "list", LISTED, rows=LISTED_ROWS, chars=MAX_FILE_CHARS, put=files.put, counted="status"
        )
        details = Chunks("details", DETAILS, rows=DETAILED_ROWS, chars=MAX_FILE_CHARS, put=files.put)
        for row in rows:
            card, besides = cells_of(row, carried_columns)
            totals.add(card)
            listed.add(card)
            details.add(besides)
        listed.flush()
        details.flush()
        changed = production.changed_at
        about = {
            "production": production.production_id,
            "manifest": str(production.manifest_uri),
            "changed": changed and changed.strftime("%Y-%m-%d %H:%M:%S UTC"),
            "simulated": production.simulated,
            "columns": list(carried_columns),
            **totals.shown(),
            "lists": listed.files,
            "details": details.files,
        }
        named_set = files.close_set(as_script(about))
    return _page(production, named_set)


class _Totals:
    """What the page says of all rows together, counted while they pass by."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._statuses: Counter[str] = Counter()
        self._sizes: Counter[str | None] = Counter()
        self._cost = 0.0
        self._choices: list[Counter[str] | None] = [Counter() for _ in columns]

    def add(self, card: Cells) -> None:
        self._statuses[card[_STATUS]] += 1
        if card[_STATUS] != ClipStatus.INVALID:
            self._sizes[card[_SIZE]] += 1
        self._cost += card[_COST] or 0
        for i, value in enumerate(card[len(LISTED) :]):
            choices = self._choices[i]
            if choices is None or value is None:
                continue
            choices[value] += 1
            if len(choices) > MAX_CHOICES or len(value) >= MAX_CARRIED_CHARS:
                self._choices[i] = None

    def shown(self) -> dict[str, Any]:
        return {
            "total": self._statuses.total(),
            "statuses": self._statuses,
            "cost": round(self._cost, 4),
            "sizes": self._sizes.most_common(),
            "choices": [None if choices is None else sorted(choices.items()) for choices in self._choices],
        }


def _page(production: Production, named_set: str) -> bytes:
    from jinja2 import Environment
    from markupsafe import Markup

    script = "\n".join(_template(name) for name in _SCRIPTS)
    style = _template("page.css")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _template("page.html")
    )
    identity = hashlib.sha256(f"{production.output_uri}\n{production.production_id}".encode()).hexdigest()
    return page.render(
        production=production.production_id,
        named_set=named_set,
        key=identity[:16],
        style=Markup(style),  # noqa: S704  # our own files
        style_hash=_csp_hash(style),
        script=Markup(script),  # noqa: S704
        script_hash=_csp_hash(script),
    ).encode()


def _template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _set_of(store: OutputStore) -> str | None:
    """The set of files that the page names which is there now."""
    try:
        named = _NAMED_SET.search(store.read_bytes(GALLERY))
    except FileNotFoundError:
        return None
    return named[1].decode() if named else None
