import re
from pathlib import Path

import pytest

import sora_pipeline
from sora_pipeline.amounts import counted

PACKAGE = Path(sora_pipeline.__file__).parent
_MANY = re.compile(
    r"(?<!\{)\{(?!counted)[^{}]*\} (?:clips|rows|videos|prompts|attempts|productions|models|files|predictions)\b"
)


@pytest.fixture
def postgres_url() -> None:
    """Words need no database."""


@pytest.mark.parametrize(
    ("count", "words", "said"),
    [
        (0, ("clip",), "0 clips"),
        (1, ("clip",), "1 clip"),
        (12_000, ("clip",), "12,000 clips"),
        (1, ("clip is", "clips are"), "1 clip is"),
        (2, ("clip is", "clips are"), "2 clips are"),
    ],
)
def test_counts_are_said_as_people_say_them(count: int, words: tuple[str, ...], said: str) -> None:
    assert counted(count, *words) == said


def test_no_sentence_says_1_clips() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        if path.parent.name != "sandbox"  # a server for tests of pipelines, whose counts are of jobs
        for line in path.read_text("utf-8").splitlines()
        if _MANY.search(line)
    }
    assert not found
