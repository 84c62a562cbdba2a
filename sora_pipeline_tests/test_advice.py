"""Every code that an error carries and that has advice is explained at the edge, and lower rooms know nothing that is typed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sora_pipeline.advice import ADVICE, explained
from sora_pipeline.cli.app import app
from sora_pipeline.errors import Reason
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.media.images import ImageError
from sora_pipeline.provider.errors import ErrorKind, RejectedError
from sora_pipeline.store import OutputStore, StoreError

PACKAGE = Path(__file__).parents[1] / "sora_pipeline"
LOWER = (
    "admission",
    "ledger",
    "manifest",
    "media",
    "notifications",
    "production",
    "provider",
    "recovery",
    "store.py",
)
PUBLISHING = {"production/surveys.py", "notifications/messages.py"}
"""They write what people read, and are the edge of their rooms."""
COMMANDS = "|".join(
    [
        *(str(command.name) for command in app.registered_commands),
        *(str(group.name) for group in app.registered_groups),
    ]
)
TYPED = re.compile(rf"\b(SORA|DAGSTER)_[A-Z]|(?<![\w-])--[a-z]|\bsora-pipeline ({COMMANDS})\b")


def test_an_error_is_explained_by_its_code() -> None:
    full = StoreError("Output /out could not be written: there is no space left.", "store_full")
    assert explained(full) == f"{full} {ADVICE['store_full']}"
    assert explained(ImageError("Image a.png is 1x1.", code="image_size")).endswith(ADVICE["image_size"])
    private = RejectedError(ErrorKind.PRIVATE_ADDRESS, "the output is at 10.0.0.1")
    assert explained(private) == f"the output is at 10.0.0.1. {ADVICE['private_address']}"
    assert explained(LedgerError("it is locked")) == "it is locked"
    assert explained(ValueError("a bug")) == "a bug"


def test_the_advice_names_the_facts() -> None:
    facts = {"manifest": "/in/{a}.csv", "production": "monday", "account": "gptproto"}
    reason = Reason("monday was last read for the account sandbox", "read_for_another", facts)
    assert explained(reason) == (
        "monday was last read for the account sandbox. `sora-pipeline run '/in/{a}.csv' --name monday` has its pending clips "
        "made with gptproto."
    )
    assert explained(Reason("it is as it is")) == "it is as it is"


@pytest.mark.parametrize("code", ADVICE)
def test_every_advice_is_given_by_somebody(code: str) -> None:
    written = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "advice.py")
    assert f'"{code}"' in written


def test_a_protocol_that_is_not_known_says_what_to_write() -> None:
    with pytest.raises(StoreError) as caught:
        OutputStore("floppy://a/b")
    assert "SORA_OUTPUT" in explained(caught.value)


@pytest.mark.parametrize("room", LOWER)
def test_lower_rooms_know_nothing_that_is_typed(room: str) -> None:
    """Variables, options and commands are written in advice.py, and given to what people read at the edge."""
    named, advised = [], []
    for file in _files(room):
        where, source = file.relative_to(PACKAGE).as_posix(), file.read_text()
        named += [f"{where}: {text}" for text in _said(ast.parse(source)) if TYPED.search(text)]
        if re.search(r"^(from|import) sora_pipeline\.advice|import advice", source, re.MULTILINE):
            advised.append(where)
    assert named == []
    assert set(advised) <= PUBLISHING


@pytest.mark.parametrize(
    "text", ["Set SORA_OUTPUT", "in DAGSTER_HOME", "say --name x", "(--budget)", "`sora-pipeline retry`"]
)
def test_what_is_typed_is_recognised(text: str) -> None:
    assert TYPED.search(text)


@pytest.mark.parametrize("text", [".sora-pipeline.json", "this version of sora-pipeline", "a--b", "---"])
def test_what_is_not_typed_is_not(text: str) -> None:
    assert not TYPED.search(text)


def _files(room: str) -> list[Path]:
    path = PACKAGE / room
    return [path] if path.is_file() else sorted(path.rglob("*.py"))


def _said(tree: ast.Module) -> Iterator[str]:
    """Every text of a module but its docstrings: those say where values come from."""
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
