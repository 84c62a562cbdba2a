"""``python -m benchmarks.verification``: what it takes to verify a video, hash it and make its poster, in the ways there are.

The videos are the sandbox's, 4, 8 and 12 s in each size, and two with grain and motion in all parts. All ways take turns over
the same videos in one run, so that their ratios mean something on a busy machine too. Then: how many of some damaged files each
way finds, and how many videos a minute several threads verify.
"""

import argparse
import hashlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from rich.console import Console
from rich.table import Table

from benchmarks.videos import SIZES, Video, damaged_copies, grainy_video, sandbox_video
from sora_pipeline.clip import Size
from sora_pipeline.media import probe
from sora_pipeline.media.decoders import processors
from sora_pipeline.media.poster import Poster, poster_frame
from sora_pipeline.media.probe import VideoError, verify_video

console = Console(stderr=not sys.stdout.isatty())
Figures = dict[str, dict[str, float]]
MOST_THREADS = 8


@dataclass(frozen=True, slots=True)
class Way:
    """A way to verify a video, with its hash and its poster.

    Attributes:
        threads: The kind of threads in the decoder, and how many.
        options: Further options of the decoder.
        poster: Makes the poster after verification; None: on the way.
        watch: Is shown each frame instead of what makes the poster on the way.
    """

    threads: tuple[str, int] = ("NONE", 1)
    options: Mapping[str, str] = field(default_factory=dict)
    poster: Callable[[Path], object] | None = None
    watch: Callable[[Any, Any], object] | None = None

    def take(self, video: Video) -> None:
        """Raises what ``verify_video`` raises."""
        with _decoders_set_up(self):
            watch: Any = self.watch or (Poster().watch if self.poster is None else None)
            verify_video(video.path, size=video.size, duration=video.duration, watch=watch)
        if self.poster is not None:
            self.poster(video.path)

    @property
    def is_of_the_decoder(self) -> bool:
        """Whether it may find other damage than the way in use."""
        return self.poster is None and self.watch is None


@contextmanager
def _decoders_set_up(way: Way) -> Iterator[None]:
    as_it_is = probe.picture_stream

    def picture_stream(container: Any) -> Any:
        stream = as_it_is(container)
        stream.codec_context.thread_type, stream.codec_context.thread_count = way.threads
        stream.codec_context.options = {**stream.codec_context.options, **way.options}
        return stream

    probe.picture_stream = picture_stream
    try:
        yield
    finally:
        probe.picture_stream = as_it_is


def _poster_of_four_threads(path: Path) -> None:
    """As it was made before: all of the frame converted, then scaled."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "AUTO", 4
        place = (stream.start_time or 0) + int((stream.duration or 0) * 0.25)
        container.seek(place, stream=stream)
        picture = next(frame for frame in container.decode(stream) if frame.pts >= place).to_image()
    small = picture.resize((320, round(picture.height * 320 / picture.width)))
    small.save(io.BytesIO(), "JPEG", quality=82, optimize=True)


IN_USE = "in use: one thread, the poster on the way"
WAYS = {
    IN_USE: Way(),
    "as it was: four frame threads, the poster apart": Way(("AUTO", 4), poster=_poster_of_four_threads),
    "the poster apart": Way(poster=poster_frame),
    "no poster": Way(watch=lambda *_: None),
    "two frame threads": Way(("FRAME", 2)),
    "four frame threads": Way(("FRAME", 4)),
    "two slice threads": Way(("SLICE", 2)),
    "four slice threads": Way(("SLICE", 4)),
    "no loop filter": Way(options={"skip_loop_filter": "all"}),
    "no loop filter on unreferenced frames": Way(options={"skip_loop_filter": "noref"}),
    "each frame converted to RGB": Way(watch=lambda frame, _: frame.to_ndarray(format="rgb24")),
}


def _opened(video: Video) -> None:
    with probe.opened(video.path, 2**31):
        pass


def _demuxed(video: Video) -> None:
    with probe.opened(video.path, 2**31) as container:
        for _ in container.demux(probe.picture_stream(container)):
            pass


def _hashed(video: Video) -> None:
    with video.path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


PARTS: dict[str, Callable[[Video], object]] = {
    "alone: boxes and tables": lambda video: probe.check_structure(video.path),
    "alone: opening": _opened,
    "alone: opening, reading packets": _demuxed,
    "alone: SHA-256": _hashed,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Make videos, measure, print tables."""
    options = _options().parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with console.status("making videos"):
            videos = [
                sandbox_video(folder, size, each) for size in options.sizes for each in options.durations
            ]
            videos += [
                grainy_video(folder, size, 2) for size in dict.fromkeys((options.sizes[0], options.sizes[-1]))
            ]
        with console.status("measuring"):
            costs = _costs(videos, options.rounds)
        with console.status("looking at damaged files"):
            found = _found(damaged_copies(folder, options.damaged))
        with console.status("verifying in several threads"):
            rates = _rates(videos)
    for table in (_cost_table(costs), _found_table(found), _rate_table(rates)):
        console.print(table)
    if options.json:
        figures = {"milliseconds": costs, "damaged": found, "rates": rates, "processors": processors()}
        options.json.write_text(json.dumps(figures, indent=2))
    return 0


def _costs(videos: Sequence[Video], rounds: int) -> dict[str, Figures]:
    """By group of videos and by way: milliseconds a video, medians of rounds in which all ways take turns."""
    calls = {name: way.take for name, way in WAYS.items()} | PARTS
    taken: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for call in calls.values():
        call(videos[0])  # loads libraries
    for video in videos * rounds:
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call(video)
            spent = time.process_time() - cpu, time.perf_counter() - wall
            taken[video.group][name].append(spent)
    return {
        group: {
            name: {
                "cpu_ms": 1000 * statistics.median(cpu for cpu, _ in times),
                "wall_ms": 1000 * statistics.median(wall for _, wall in times),
            }
            for name, times in by_way.items()
        }
        for group, by_way in taken.items()
    }


def _found(damaged: Iterator[Video]) -> dict[str, dict[str, int]]:
    """What each way finds of damaged files, each looked at twice."""
    ways = {name: way for name, way in WAYS.items() if way.is_of_the_decoder}
    ways["four frame threads"] = WAYS["four frame threads"]
    counts = {name: {"files": 0, "found": 0, "missed": 0, "changed": 0} for name in ways}
    for video in damaged:
        usual = _is_found(WAYS[IN_USE], video)
        for name, way in ways.items():
            first, second = _is_found(way, video), _is_found(way, video)
            counts[name]["files"] += 1
            counts[name]["found"] += first
            counts[name]["missed"] += usual and not first
            counts[name]["changed"] += first != second
    return counts


def _is_found(way: Way, video: Video) -> bool:
    try:
        way.take(video)
    except VideoError as problem:
        return problem.video is None
    return False


def _rates(videos: Sequence[Video]) -> dict[str, Figures]:
    """By kind of video and number of threads: videos a minute, and a minute of CPU."""
    rates: dict[str, Figures] = {}
    for kind in ("sandbox", "grain"):
        work = [video for video in videos if video.kind == kind]
        work *= -(-MOST_THREADS // len(work))
        for count in (1, 2, 4, MOST_THREADS):
            wall, cpu = time.perf_counter(), time.process_time()
            with ThreadPoolExecutor(count) as threads:
                list(threads.map(_verified, work))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            rates.setdefault(kind, {})[str(count)] = {
                "a_minute": 60 * len(work) / wall,
                "a_minute_of_cpu": 60 * len(work) / cpu,
            }
    return rates


def _verified(video: Video) -> None:
    verify_video(video.path, size=video.size, duration=video.duration, watch=Poster().watch)


def _cost_table(costs: Mapping[str, Figures]) -> Table:
    table = Table(title="CPU and wall time a video: milliseconds, then ratios to the way in use")
    table.add_column("way")
    for group in costs:
        table.add_column(group, justify="right")
    usual = {group: by_way[IN_USE] for group, by_way in costs.items()}
    table.add_row(IN_USE, *(f"{one['cpu_ms']:.0f} / {one['wall_ms']:.0f}" for one in usual.values()))
    for name in [*WAYS, *PARTS]:
        if name != IN_USE:
            table.add_row(name, *(_ratio(costs[group][name], usual[group]) for group in costs))
    return table


def _ratio(one: Mapping[str, float], usual: Mapping[str, float]) -> str:
    cpu, wall = one["cpu_ms"] / usual["cpu_ms"], one["wall_ms"] / usual["wall_ms"]
    return f"{cpu:.2f} / {wall:.2f}" if cpu > 0.1 else f"{cpu:.3f} / {wall:.3f}"


def _found_table(found: Mapping[str, Mapping[str, int]]) -> Table:
    table = Table(title="Files with damaged pictures")
    headings = (
        "decoder",
        "looked at",
        "found",
        "missed that are found in use",
        "another verdict at the second look",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "decoder" else "right")
    for name, counts in found.items():
        table.add_row(name, *(str(counts[key]) for key in ("files", "found", "missed", "changed")))
    return table


def _rate_table(rates: Mapping[str, Figures]) -> Table:
    table = Table(title=f"Videos verified a minute, on {processors()} processors")
    for heading in ("videos", "threads", "a minute", "a minute of CPU"):
        table.add_column(heading, justify="left" if heading == "videos" else "right")
    for kind, by_threads in rates.items():
        for count, rate in by_threads.items():
            table.add_row(kind, count, f"{rate['a_minute']:.0f}", f"{rate['a_minute_of_cpu']:.0f}")
    return table


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verification", description=__doc__)
    parser.add_argument(
        "--durations", type=int, nargs="+", default=[4, 8, 12], help="seconds of the sandbox's videos"
    )
    parser.add_argument(
        "--sizes",
        type=Size.parse,
        nargs="+",
        default=SIZES,
        metavar="SIZE",
        help="of the videos, as 720x1280",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often each way is measured with each video"
    )
    parser.add_argument("--damaged", type=int, default=300, help="how many damaged files are looked at")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
