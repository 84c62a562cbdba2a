"""Every code that an error carries and that has advice is explained at the edge, and lower rooms know no variables."""

import re
from pathlib import Path

import pytest

from sora_pipeline.advice import ADVICE, explained
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.media.images import ImageError
from sora_pipeline.provider.errors import ErrorKind, RejectedError
from sora_pipeline.store import OutputStore, StoreError

PACKAGE = Path(__file__).parents[1] / "sora_pipeline"
LOWER = ("media", "manifest", "store.py")


def test_an_error_is_explained_by_its_code() -> None:
    full = StoreError("Output /out could not be written: there is no space left.", "store_full")
    assert explained(full) == f"{full} {ADVICE['store_full']}"
    assert explained(ImageError("Image a.png is 1x1.", code="image_size")).endswith(ADVICE["image_size"])
    private = RejectedError(ErrorKind.PRIVATE_ADDRESS, "the output is at 10.0.0.1")
    assert explained(private) == f"the output is at 10.0.0.1. {ADVICE['private_address']}"
    assert explained(LedgerError("it is locked")) == "it is locked"
    assert explained(ValueError("a bug")) == "a bug"


@pytest.mark.parametrize("code", ADVICE)
def test_every_advice_is_given_by_somebody(code: str) -> None:
    written = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "advice.py")
    assert f'"{code}"' in written


def test_a_protocol_that_is_not_known_says_what_to_write() -> None:
    with pytest.raises(StoreError) as caught:
        OutputStore("floppy://a/b")
    assert "SORA_OUTPUT" in explained(caught.value)


@pytest.mark.parametrize("room", LOWER)
def test_lower_rooms_know_no_variables(room: str) -> None:
    path = PACKAGE / room
    files = [path] if path.is_file() else list(path.rglob("*.py"))
    named = {file.name: found for file in files if (found := re.findall(r"SORA_[A-Z]+\w*", file.read_text()))}
    assert named == {}
