"""What the package's metadata say of the repository: its addresses, and the README as an index shows it.

``REPOSITORY_URL`` is where a release's sources can be read. An index resolves no relative address: with it pictures and links
lead there, to the tag of this version; without it there is no picture, and links are text.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REPOSITORY_URL = "REPOSITORY_URL"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_ABSOLUTE = re.compile(r"[a-z]+:|#", re.IGNORECASE)


class MetadataHook(MetadataHookInterface):
    """Fills in ``readme`` and ``urls``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Complete the project's metadata."""
        repository, version = os.environ.get(REPOSITORY_URL, "").strip().rstrip("/"), metadata["version"]
        text = (Path(self.root) / "README.md").read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": for_an_index(text, repository, version),
        }
        metadata["urls"] = urls(repository, version)


def urls(repository: str, version: str) -> dict[str, str]:
    """The project's addresses; none where nobody said where it is."""
    if not repository:
        return {}
    return {
        "Repository": repository,
        "Documentation": f"{repository}/blob/v{version}/docs/index.md",
        "Changelog": f"{repository}/blob/v{version}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }


def for_an_index(text: str, repository: str, version: str) -> str:
    """A README without relative addresses."""

    def absolute(link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        if _ABSOLUTE.match(target):
            return link.group()
        if not repository:
            return "" if picture else words
        return f"{picture}[{words}]({repository}/{'raw' if picture else 'blob'}/v{version}/{target})"

    return re.sub(r"\n{3,}", "\n\n", _LINK.sub(absolute, text))
