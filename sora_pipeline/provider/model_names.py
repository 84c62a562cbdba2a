"""Whether the model that an answer names is the one that was asked for, however either is spelt."""

import re

_SNAPSHOT = re.compile(r"-\d{4}-?\d{2}-?\d{2}$", re.ASCII)


def is_other_model(requested: str, returned: str | None) -> bool:
    """Whether an answer names another model: a silent fallback, paid all the same.

    A vendor's prefix, a scene behind the name and the date of a snapshot make no other model.
    """
    if not returned:
        return False
    name = _plain(requested.rpartition("/")[2])
    parts = [_plain(part) for part in returned.split("/")]
    return all(part != name and _SNAPSHOT.sub("", part) != name for part in parts)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")
