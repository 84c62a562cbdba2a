"""The fenced blocks of README and docs, with what the comments before them say."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
FIRST = (
    "README.md",
    "docs/tutorial/first-clips.md",
    "docs/tutorial/first-paid-clip.md",
    "docs/tutorial/first-schedule.md",
)
"""They make what other pages look at."""
LANGUAGES = ("console", "python", "yaml", "toml", "csv")
_COMMENT = re.compile(r"<!-- (file|exit|not run): (.+?) -->")


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        file: Where it is to be written for the blocks that follow; empty: nowhere.
        exit_code: What its commands end with.
        not_run: Why no test can run it; empty: one does.
    """

    page: str
    line: int
    language: str
    text: str
    file: str = ""
    exit_code: int = 0
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page, those that others build upon first."""
    found = [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "docs" / "tutorial").glob("*.md")),
        *sorted((ROOT / "docs" / "howto").glob("*.md")),
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
    ]
    first = [ROOT / name for name in FIRST]
    return [*first, *(page for page in found if page not in first)]


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order."""
    said: dict[str, str] = {}
    for token in MarkdownIt().parse(page.read_text("utf-8")):
        if token.type == "fence":
            yield _block(page, token, said)
        if token.type != "html_block":
            said = {} if token.nesting >= 0 else said
        else:
            said = said | dict(_COMMENT.findall(token.content))


def inline_commands(page: Path) -> Iterator[tuple[int, str]]:
    """Every command that is named in a sentence or a table, with its line."""
    for token in MarkdownIt().enable("table").parse(page.read_text("utf-8")):
        for child in token.children or ():
            if child.type == "code_inline" and child.content.startswith("sora-pipeline "):
                yield (token.map or [0])[0] + 1, child.content


def _block(page: Path, token: Token, said: dict[str, str]) -> Block:
    return Block(
        page=page.relative_to(ROOT).as_posix(),
        line=(token.map or [0])[0] + 1,
        language=token.info.strip(),
        text=token.content,
        file=said.get("file", ""),
        exit_code=int(said.get("exit", "0")),
        not_run=said.get("not run", ""),
    )
