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
from sora_pipeline.manifest.output import OutputRow
from sora_pipeline.production.gallery.chunks import Chunks, as_script
from sora_pipeline.production.gallery.files import GalleryFiles
from sora_pipeline.production.gallery.rows import (
    DETAILS,
    LISTED,
    MAX_CARRIED_CHARS,
    MAX_LISTED_CARRIED,
    cells_of,
    details_chars,
    listed_chars,
)
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
    rows: Iterable[OutputRow],
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
        listed = Chunks("list", LISTED, rows=LISTED_ROWS, chars=MAX_FILE_CHARS, put=files.put)
        details = Chunks("details", DETAILS, rows=DETAILED_ROWS, chars=MAX_FILE_CHARS, put=files.put)
        for row in rows:
            card, besides = cells_of(row, carried_columns)
            totals.add(listed.add(card, listed_chars(card)))
            details.add(besides, details_chars(besides))
        totals.add(listed.flush())
        details.flush()
        changed = production.changed_at
        about = {
            "production": production.production_id,
            "manifest": str(production.manifest_uri),
            "changed": changed and changed.strftime("%Y-%m-%d %H:%M:%S UTC"),
            "simulated": production.simulated,
            "columns": list(carried_columns),
            **totals.shown(),
            "lists": [[*file, counts] for file, counts in zip(listed.files, totals.by_file, strict=True)],
            "details": details.files,
        }
        named_set = files.close_set(as_script(about))
    return _page(production, named_set)


class _Totals:
    """What the page says of all rows together, counted while they pass by."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.by_file: list[Counter[str]] = []
        self._sizes: Counter[str | None] = Counter()
        self._cost = 0.0
        self._choices: list[Counter[str] | None] = [Counter() for _ in columns]

    def add(self, columns: Sequence[tuple[Any, ...]]) -> None:
        """Count the rows of a file, if there is one."""
        if not columns:
            return
        self.by_file.append(Counter(columns[_STATUS]))
        self._sizes.update(columns[_SIZE])
        if len(self._sizes) > MAX_CHOICES:  # of rows that cannot be made; clips have a handful
            self._sizes = Counter(dict(self._sizes.most_common(MAX_CHOICES)))
        self._cost += sum(cost for cost in columns[_COST] if cost)
        for i, values in enumerate(columns[len(LISTED) :]):
            if (choices := self._choices[i]) is not None:
                choices.update(value for value in values if value is not None)
                if len(choices) > MAX_CHOICES or any(len(value) >= MAX_CARRIED_CHARS for value in choices):
                    self._choices[i] = None

    def shown(self) -> dict[str, Any]:
        statuses = sum(self.by_file, Counter())
        return {
            "total": statuses.total(),
            "statuses": statuses,
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
