"""Asking about the images of a manifest: once for each picture and size, several at a time, failures that pass again.

This is the only place that repeats a read of an image while a manifest is read.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from sora_pipeline.clip import Size
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


def check_images(
    wanted: Iterable[Wanted], check: ImageCheck, workers: int, waits_s: Sequence[float] | None = None
) -> dict[Wanted, ImageFinding]:
    """Check every distinct image and size, ``workers`` at a time: some are slow URLs.

    What fails for now is asked for again when all others were asked, as often as there are waits. A host that fails several
    times in a row is left alone until then, so that one that is down costs some requests and not one for each of its images.

    Args:
        wanted: The images; repeated ones are checked once.
        check: Checks one; called from threads.
        workers: How many at a time.
        waits_s: Seconds before each of the repetitions; None: the usual ones.
    """
    missing = [*dict.fromkeys(wanted)]
    if not missing:
        return {}
    hosts, findings = _Hosts(), dict[Wanted, ImageFinding]()

    def ask(pair: Wanted) -> ImageFinding:
        why_not = hosts.why_not(pair[0])
        if why_not is not None:
            return findings.get(pair) or ImageFinding(problem=why_not, passing=True)
        began = time.monotonic()
        finding = check(*pair)
        hosts.note(pair[0], finding, time.monotonic() - began)
        return finding

    with ThreadPoolExecutor(max_workers=min(workers, len(missing)), thread_name_prefix="image") as pool:
        for wait_s in (0.0, *(WAITS_S if waits_s is None else waits_s)):
            time.sleep(wait_s)
            hosts.begin_again()
            findings.update(zip(missing, pool.map(ask, missing), strict=True))
            missing = [pair for pair in missing if findings[pair].passing]
            if not missing:
                break
    return findings


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
