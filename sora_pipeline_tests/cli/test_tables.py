"""Tables and help: nothing is cut at any width, and where nobody said how wide a line is, it is as long as it takes."""

import os
import pty
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.text import Text

from sora_pipeline.cli.tables import side_by_side, table
from sora_pipeline_tests.cli.test_commands import in_a_process

HEADER = ("account", "models and what they are for", "campaign", "clips")
ROWS = (
    ("a-sandbox", "sora-2, sora-2-pro, wan-2.6 and whatever else there is", "winter-sale-in-the-north", "12"),
    ("b", "猫が走る [1]", "", "3"),
)


def written(width: int | None) -> list[str]:
    return table(HEADER, ROWS, numbers=(3,), width=width).plain.split("\n")


@pytest.mark.parametrize("width", [24, 30, 50, 72, 80, 120, 200, None])
def test_every_word_of_a_table_is_there_and_whole(width: int | None) -> None:
    lines = written(width)
    words = " ".join(lines).split()
    for cell in (*ROWS[0], *ROWS[1]):
        for word in cell.split():
            assert word in words, width
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", [72, 80, 120, 200])
def test_a_table_that_fits_has_its_columns_side_by_side(width: int) -> None:
    lines = written(width)
    assert lines[0].split()[0] == "account"
    assert max(map(cell_len, lines)) <= width
    assert len({cell_len(line) for line in lines if line.endswith(("clips", "12", "3"))}) == 1, (
        "numbers stand below each other"
    )
    assert lines[-1].startswith("b          猫が走る [1]")


def test_a_table_that_does_not_fit_has_each_value_in_a_line() -> None:
    assert written(50)[-3:] == ["b", "  models and what they are for: 猫が走る [1]", "  clips: 3"]
    assert side_by_side(HEADER, ROWS, width=50) is None


def test_lines_of_a_file_are_as_long_as_they_take() -> None:
    rows = [("a", "word " * 200), ("b", "x")]
    lines = table(("clip", "why"), rows, width=None).plain.split("\n")
    assert len(lines) == 3
    assert len(lines[1]) == len("clip  " + ("word " * 200).rstrip())


def test_texts_keep_their_styles() -> None:
    shown = table(("clip", "status"), [("a", Text("failed", style="red"))], width=80)
    assert {(shown.plain[span.start : span.end], span.style) for span in shown.spans} >= {("failed", "red")}


@pytest.mark.parametrize("call", [["models"], ["run", "--help"]])
@pytest.mark.parametrize("columns", ["0", "²", "-5"])
def test_columns_that_are_no_width_are_as_good_as_none(home: Path, call: list[str], columns: str) -> None:
    said = in_a_process(*call, COLUMNS=columns)
    assert said.returncode == 0
    assert said.stdout == in_a_process(*call, COLUMNS="").stdout
    assert len(said.stdout.splitlines()) > 5


def test_a_pipe_has_the_width_that_columns_says_and_else_none() -> None:
    whole = in_a_process("models", COLUMNS="").stdout.splitlines()
    assert max(map(len, whole)) > 150
    assert whole[0].split()[:2] == ["model", "providers"]
    narrow = in_a_process("models", COLUMNS="60").stdout.splitlines()
    assert max(map(len, narrow)) <= 60
    assert "  seconds: 5, 10, 15" in narrow


@pytest.mark.parametrize("command", ["--help", "run --help", "ledger --help", "export --help"])
def test_help_on_a_narrow_terminal_cuts_no_name(command: str) -> None:
    said = at_a_terminal(50, *command.split())
    assert "…" not in said.replace("cancelled …", "")
    words = said.split()
    for word in {"--help": "--install-completion", "run --help": "SORA_BUDGET_USD."}.get(
        command, "--help"
    ).split():
        assert word in words
    if command == "ledger --help":
        assert "put back: pause all productions, and learn what was paid for since." in " ".join(words)


def at_a_terminal(columns: int, *arguments: str) -> str:
    """What a command shows on a terminal so wide."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "sora_pipeline", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(timeout=60) == 0
    return shown.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so that nobody writes any more
        return b""
