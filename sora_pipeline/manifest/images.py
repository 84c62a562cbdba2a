"""Asking about the images of a manifest: once for each picture and size, several at a time, failures that pass again.

This is the only place that repeats a read of an image while a manifest is read.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlsplit

from sora_pipeline.clip import Size
from sora_pipeline.scratch import Scratch
from sora_pipeline.uris import Uri, is_uri

WAITS_S = (2.0, 8.0)
"""Seconds before what could not be read for now is asked for once more, and once more after that."""
FAILURES_IN_A_ROW = 5
"""After so many a host is not asked any more until the next of these times."""
MOST_FAILING_S = 1800.0
"""Seconds that all failures together may take; afterwards only hosts are asked that have answered."""


@dataclass(frozen=True, slots=True)
class ImageFinding:
    """What was found out about one image: its hash, or a problem.

    Attributes:
        sha256: Hex hash of the file's bytes, where it can be used.
        problem: What is wrong, as a sentence.
        passing: Whether the problem is one that passes: a time-out, a server's 503.
    """

    sha256: str | None = None
    problem: str | None = None
    passing: bool = False

    def __post_init__(self) -> None:
        if (self.sha256 is None) == (self.problem is None):
            raise ValueError("an image has either a hash or a problem")


ImageCheck = Callable[[Uri, Size], ImageFinding]
"""Given an image's absolute path or URI and the size of the video, whether it can be the first frame."""

Wanted = tuple[Uri, Size]
_STRETCH = 1024
"""Images that are asked for before their findings are written down."""


class Images:
    """The distinct images of a manifest, each for a size of video, and what was found out about them.

    They may be as many as there are rows, so that they are kept outside of memory.
    """

    def __init__(self) -> None:
        self._wanted = 0

    def __len__(self) -> int:
        return self._wanted

    @cached_property
    def _findings(self) -> Scratch:
        return Scratch(
            "CREATE TABLE images (number INTEGER PRIMARY KEY, uri TEXT, width INTEGER, height INTEGER, sha256 TEXT,"
            " problem TEXT, passing INTEGER, UNIQUE (uri, width, height));"
        )

    def want(self, image: Wanted) -> None:
        """Note an image; repeated ones are checked once."""
        statement = "INSERT OR IGNORE INTO images (uri, width, height) VALUES (?, ?, ?)"
        self._wanted += self._findings.execute(statement, _place(image)).rowcount

    def finding(self, image: Wanted) -> ImageFinding:
        """What was found out about an image that was wanted and is checked."""
        statement = "SELECT sha256, problem, passing FROM images WHERE uri = ? AND width = ? AND height = ?"
        sha256, problem, passing = self._findings.execute(statement, _place(image)).fetchone()
        return ImageFinding(sha256, problem, bool(passing))

    def check(self, check: ImageCheck, workers: int, waits_s: Sequence[float] | None = None) -> None:
        """Check them all, ``workers`` at a time: some are slow URLs.

        What fails for now is asked for again when all others were asked, as often as there are waits. A host that fails several
        times in a row is left alone until then, so that one that is down costs some requests and not one for each of its images.

        Args:
            check: Checks one; called from threads.
            workers: How many at a time.
            waits_s: Seconds before each of the repetitions; None: the usual ones.
        """
        if not self._wanted:
            return
        hosts = _Hosts()

        def ask(missing: _Missing) -> ImageFinding:
            pair = missing.wanted
            why_not = hosts.why_not(pair[0])
            if why_not is not None:
                return missing.before or ImageFinding(problem=why_not, passing=True)
            began = time.monotonic()
            finding = check(*pair)
            hosts.note(pair[0], finding, time.monotonic() - began)
            return finding

        with ThreadPoolExecutor(min(workers, self._wanted), thread_name_prefix="image") as pool:
            for wait_s in (0.0, *(WAITS_S if waits_s is None else waits_s)):
                time.sleep(wait_s)
                hosts.begin_again()
                for stretch in self._missing():
                    for missing, finding in zip(stretch, pool.map(ask, stretch), strict=True):
                        self._note(missing, finding)
                if not any(self._missing()):
                    break

    def _missing(self) -> Iterator[list["_Missing"]]:
        """Those that were not found out about, or not for good."""
        last = 0
        while stretch := [
            _Missing(number, (Uri(uri), Size(width, height)), problem)
            for number, uri, width, height, problem in self._findings.execute(
                "SELECT number, uri, width, height, problem FROM images WHERE number > ? AND sha256 IS NULL"
                " AND (passing IS NULL OR passing) ORDER BY number LIMIT ?",
                (last, _STRETCH),
            )
        ]:
            yield stretch
            last = stretch[-1].number

    def _note(self, missing: "_Missing", finding: ImageFinding) -> None:
        statement = "UPDATE images SET sha256 = ?, problem = ?, passing = ? WHERE number = ?"
        values = (finding.sha256, finding.problem, finding.passing, missing.number)
        self._findings.execute(statement, values)


@dataclass(frozen=True, slots=True)
class _Missing:
    """An image to ask for, and how that failed before."""

    number: int
    wanted: Wanted
    problem: str | None

    @property
    def before(self) -> ImageFinding | None:
        return None if self.problem is None else ImageFinding(problem=self.problem, passing=True)


def _place(image: Wanted) -> tuple[str, int, int]:
    uri, size = image
    return uri.reveal(), size.width, size.height


class _Hosts:
    """How the hosts of images answer while one manifest is read."""

    def __init__(self) -> None:
        self._in_a_row: dict[str, int] = {}
        self._answered: set[str] = set()
        self._failing_s = 0.0
        self._lock = threading.Lock()

    def begin_again(self) -> None:
        """Ask hosts again that failed before."""
        self._in_a_row.clear()

    def why_not(self, image: Uri) -> str | None:
        """Why an image's host is not asked at present; None: it is."""
        host = _host_of(image)
        with self._lock:
            if host and self._in_a_row.get(host, 0) >= FAILURES_IN_A_ROW:
                return f"it was not asked for, since {host} failed {FAILURES_IN_A_ROW} times in a row"
            if host and self._failing_s >= MOST_FAILING_S and host not in self._answered:
                return f"it was not asked for, since images took {MOST_FAILING_S:.0f} seconds to fail"
        return None

    def note(self, image: Uri, finding: ImageFinding, seconds: float) -> None:
        """Note how an image's host answered, and how long that took."""
        host = _host_of(image)
        with self._lock:
            if finding.passing:
                self._in_a_row[host] = self._in_a_row.get(host, 0) + 1
                self._failing_s += seconds
            else:
                self._in_a_row[host] = 0
                self._answered.add(host)


def _host_of(image: Uri) -> str:
    """The host or bucket that an image lies on; empty for this machine's files."""
    return (urlsplit(image.shown).netloc.rpartition("@")[2] or "") if is_uri(image) else ""
