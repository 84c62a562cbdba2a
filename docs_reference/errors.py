"""Every error and reason that has a code: what is said, and what to do."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import sora_pipeline
from sora_pipeline.advice import ADVICE

_MARKUP = re.compile(r"[\\<>*_\[\]|]")
PACKAGE = Path(sora_pipeline.__file__).parent
INTRODUCTION = """# Errors and what to do

What people read is a sentence that says what was found, and behind it what to do about it. Here are both, by the code that a program
finds on the exception (`error.code`). `…` stands for a name, a path or a number, and so does a word in braces.

Commands exit with 2 where nothing was submitted because of it. Why a clip has no video is in its `error_kind` and `error_message`:
[columns](columns.md).
"""


def page() -> str:
    """The page."""
    said = sentences()
    return INTRODUCTION + "".join(_entry(name, said[name], cure) for name, cure in ADVICE.items())


def _entry(name: str, texts: list[str], cure: str) -> str:
    """One code: the sentences that have it, and what to do, both as they are written."""
    quoted = "".join(f"\n> {_literal(text)}\n" for text in texts)
    return f"\n## {name}\n{quoted}\n{_literal(cure)}\n"


def _literal(text: str) -> str:
    """A text in which nothing is markup but what is between backquotes."""
    parts = text.strip().split("`")
    return "`".join(part if place % 2 else _MARKUP.sub(r"\\\g<0>", part) for place, part in enumerate(parts))


def sentences() -> dict[str, list[str]]:
    """The sentences that the code raises or returns with each code, as they are written there."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            first, others = _words_of(node)
            text = _sentence(first)
            for name in _codes(others) if " " in text.strip() else []:
                found[name] += [text] if text not in found[name] else []
    return found


def _words_of(node: ast.AST) -> tuple[ast.expr | None, list[ast.expr]]:
    """What an error or a reason is made of; tables of them are tuples."""
    if isinstance(node, ast.Tuple) and node.elts:
        return node.elts[0], node.elts[1:]
    if isinstance(node, ast.Call) and node.args:
        return node.args[0], [*node.args[1:], *(word.value for word in node.keywords if word.arg == "code")]
    return None, []


def _codes(given: list[ast.expr]) -> list[str]:
    return [each.value for each in given if isinstance(each, ast.Constant) and each.value in ADVICE]


def _sentence(first: ast.expr | None) -> str:
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value
    if isinstance(first, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in first.values)
    return ""
