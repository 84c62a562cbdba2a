"""The line that people watch: nothing cut at any width, money in words, an ETA from what was seen."""

import io
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest
from rich.cells import cell_len
from rich.text import Text

from sora_pipeline.cli.display import Pace, ProgressDisplay, _fitted
from sora_pipeline.cli.terminal import PlainConsole, broken_at_spaces, styled
from sora_pipeline.ledger import AttemptState, Production
from sora_pipeline.ledger.spending import Spending
from sora_pipeline.production.progress import Progress
from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import Uri


def progress(delivered: int, pending: int, *, simulated: bool = True) -> Progress:
    return Progress(
        production=Production("spring", "", Uri("/in.csv"), "/out", "sandbox", simulated, None),
        clips=delivered + pending + 20,
        counts=Counter(
            {ClipStatus.DELIVERED: delivered, ClipStatus.PENDING: pending, ClipStatus.IN_FLIGHT: 20}
        ),
        at_work=Counter({AttemptState.IN_FLIGHT: 18, AttemptState.SUCCEEDED: 2}),
        spending=Spending(48_000_000, 60_000_000),
        to_pay_usd=Decimal("12.40"),
        trouble=None,
        published=False,
        stopped=None,
    )


def test_cost_so_far_and_to_come_in_words() -> None:
    words = " ".join(part.plain for part in ProgressDisplay()._parts(progress(10, 70)))
    assert "60.00 sandbox USD spent or reserved, 12.40 to come" in words
    real = " ".join(part.plain for part in ProgressDisplay()._parts(progress(10, 70, simulated=False)))
    assert "60.00 USD spent" in real


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 140, 200])
def test_nothing_is_cut_however_narrow_a_terminal_is(width: int) -> None:
    display = ProgressDisplay()
    look = replace(progress(10, 70), trouble="HTTP 429")
    shown = _fitted(display._bar(look), display._parts(look), width)
    lines = shown.plain.split("\n")
    words = " ".join(shown.plain.split())
    for part in display._parts(look):
        assert " ".join(part.plain.split()) in words
    assert "10/100" in lines[0]
    longest = max(part.cell_len for part in display._parts(look))
    assert max(map(len, lines)) <= max(width, longest + 2)
    if width >= 80:
        assert "━" in lines[0]


@pytest.mark.parametrize("width", [10, 24, 50, 80])
def test_lines_of_a_terminal_break_at_spaces_and_nowhere_else(width: int) -> None:
    path = "/srv/campaigns/spring/a-long-name-of-a-file.csv"
    written = f"rows are in {path}: mend them\n\n  and 猫が走る of a second line, further in"
    shown = broken_at_spaces(styled((written, "red")), width)
    lines = shown.plain.split("\n")
    assert " ".join(shown.plain.split()) == " ".join(written.split())
    assert all(cell_len(line) <= width or len(line.split()) == 1 for line in lines)
    assert any(f"{path}:" in line for line in lines)
    assert lines[lines.index("") + 1 :][-1].startswith("  "), "further lines stand as far in as the first"
    assert {span.style for span in shown.spans} <= {"red"}


def test_a_terminal_breaks_lines_and_a_file_does_not() -> None:
    shown = []
    for is_terminal in (True, False):
        console = PlainConsole(
            file=io.StringIO(), width=20, force_terminal=is_terminal, soft_wrap=True, markup=False
        )
        console.print("a sentence that is longer than the terminal is wide")
        shown.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert shown[0].splitlines() == [
        "a sentence that is",
        "longer than the",
        "terminal is wide",
    ]
    assert shown[1].splitlines() == ["a sentence that is longer than the terminal is wide"]


def test_eta_needs_something_to_go_by() -> None:
    pace = Pace()
    pace.note(0, 0)
    assert pace.left_s(5, 100) is None
    pace.note(5, 10)
    assert pace.left_s(6, 90) is None, "too short a time"
    pace.note(20, 20)
    assert pace.left_s(20, 80) == 80


def test_eta_goes_by_what_was_seen_lately() -> None:
    pace = Pace()
    for second in range(0, 1000, 10):
        pace.note(second, second)  # one a second
    for second in range(1000, 2000, 100):
        pace.note(second, 990 + (second - 1000) // 10)
    assert pace.left_s(1900, 30) == pytest.approx(300, rel=0.2)


def test_obstacle_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    display = ProgressDisplay()
    display.show(progress(1, 1), "no Dagster daemon is at work")
    assert "waits: no Dagster daemon is at work" in capsys.readouterr().err
    assert isinstance(display._bar(None)[0], Text)
