"""What ``sora-pipeline dev`` shows of what Dagster and its runs write: what goes wrong, and not each event of each run."""

import re
from collections.abc import Iterable, Iterator

_RECORD = re.compile(
    r"(?:\x1b\[[0-9;]*m)*\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} - \S+ - (?:\x1b\[[0-9;]*m)*([A-Z]+) - "
)
_QUIET = frozenset({"DEBUG", "INFO"})
_TRACEBACK = "Traceback (most recent call last)"
_OUR_FAILURE = re.compile(r"dagster\S*\.Failure: ")
_STACK = "Stack Trace:"
_ENDED_BY_A_PERSON = "Aborted!"
"""What `dagster dev` says of Ctrl-C, where its first process hears of it before it has told the others."""


def what_goes_wrong(lines: Iterable[str]) -> Iterator[str]:
    """Lines that warn of something, and all that are part of no record.

    Where a run ends with a failure that says what it is about, its stack is left out: it says nothing more.
    """
    quiet = explained = False
    for line in lines:
        if line.strip() == _ENDED_BY_A_PERSON:
            continue
        if (record := _RECORD.match(line)) is not None:
            quiet, explained = record[1] in _QUIET, False
        elif line.startswith(_TRACEBACK):
            quiet = False
        elif _OUR_FAILURE.match(line):
            explained = True
        elif line.startswith(_STACK) and explained:
            quiet = True
        if not quiet and line.strip():
            yield line
