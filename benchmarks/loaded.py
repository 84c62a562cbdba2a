"""``python -m benchmarks.loaded FOLDER --clips N --url URL``: what a home with N clips costs at rest and at work, as JSON.

A process of its own for each size, so that its memory is that size's. Every time is that of a call in this process, with the code
location loaded, as a code server has it: the median of a few calls, or of the one that there is work for.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from benchmarks.full_home import NAME, FullHome, FullHomeError
from sora_pipeline.headless.home import prepare_home

IN_FLIGHT = 50
TIMES = 5
KIB = 1024


class Stopwatch:
    """Keeps what calls have taken, by name.

    Attributes:
        seconds: Wall time.
        cpu_seconds: CPU time of this process.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    def __call__(self, name: str, call: Callable[[], Any], times: int = 1) -> Any:
        """Call it so many times and keep the medians; returns what the last call did."""
        walls, cpus, answer = [], [], None
        for _ in range(times):
            wall, cpu = time.perf_counter(), time.process_time()
            answer = call()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        self.seconds[name] = statistics.median(walls)
        self.cpu_seconds[name] = statistics.median(cpus)
        return answer


def measured(home: FullHome, size: int, url: str, api_key: str) -> dict[str, Any]:
    """Fill the home and time everything on the way.

    Raises:
        FullHomeError: the home could not be filled.
    """
    watch, in_flight = Stopwatch(), min(IN_FLIGHT, size // 2)
    home.produce_template()
    watch("read the manifest", home.read)
    watch("look, all pending", lambda: look(home), TIMES)
    for sensor in home.sensors:
        watch(f"{sensor}, all pending", lambda sensor=sensor: home.tick(sensor))
    home.forget_what_was_planned()
    home.deliver_all_but(in_flight)
    watch("read it again, unchanged", home.read)
    home.put_in_flight(in_flight, url, api_key)
    watch(f"poll_sensor, {in_flight} predictions due", lambda: home.tick("poll_sensor"))
    watch("look, some in flight", lambda: look(home), TIMES)
    for sensor in home.sensors:
        watch(f"{sensor}, some in flight", lambda sensor=sensor: home.tick(sensor), TIMES)
    home.fail_what_renders()
    requests = watch("publish_sensor, all settled", lambda: home.tick("publish_sensor"))
    watch("publish", lambda: home.publish(requests))
    home.change_one()
    requests = home.tick("publish_sensor")
    watch("publish again", lambda: home.publish(requests))
    for sensor in home.sensors:
        watch(f"{sensor}, nothing to do", lambda sensor=sensor: home.tick(sensor), TIMES)
    watch("look, nothing to do", lambda: look(home), TIMES)
    watch("command status", lambda: _status(), 3)
    return {
        "clips": size,
        "seconds": watch.seconds,
        "cpu_seconds": watch.cpu_seconds,
        "bytes": _sizes(home),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB,
    }


def look(home: FullHome) -> Any:
    """What ``run`` does each second, and sensors do: how far is the production?"""
    from sora_pipeline.production.progress import progress_of
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings

    settings = Settings.from_env()
    production = home.ledger.productions.get(NAME)
    return progress_of(home.ledger, production, settings, load_catalogue(settings.catalogue))


def _status() -> None:
    command = [str(Path(sys.executable).with_name("sora-pipeline")), "status", "--production", NAME, "--json"]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _sizes(home: FullHome) -> dict[str, int]:
    published = {path.name: path.stat().st_size for path in home.output.iterdir() if path.is_file()}
    dagster_home = Path(os.environ["DAGSTER_HOME"])
    databases = [path for path in dagster_home.rglob("*.db*") if "sandbox" not in path.parts]
    ledger = sum(path.stat().st_size for path in databases if path.name.startswith("ledger.db"))
    others = sum(path.stat().st_size for path in databases if not path.name.startswith("ledger.db"))
    folders = {
        path.name: sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
        for path in home.output.iterdir()
        if path.is_dir() and path.name.startswith("gallery")
    }
    return {**published, **folders, "ledger": ledger, "Dagster's storage": others}


def main() -> int:
    """Print the figures of one size; returns 1 with a sentence where the home could not be filled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loaded", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, required=True)
    parser.add_argument("--url", required=True)
    options = parser.parse_args()
    prepare_home()
    from sora_pipeline.definitions import defs
    from sora_pipeline.names import PipelineNames
    from sora_pipeline.runtime import PipelineRuntime
    from sora_pipeline.settings import Settings

    with dg.DagsterInstance.get() as instance:
        runtime = PipelineRuntime(PipelineNames(), Settings.from_env())
        home = FullHome(options.folder, options.clips, instance=instance, definitions=defs, runtime=runtime)
        try:
            figures = measured(home, options.clips, options.url, os.environ["SORA_API_KEY"])
        except FullHomeError as problem:
            print(problem, file=sys.stderr)
            return 1
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
