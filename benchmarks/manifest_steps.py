"""``python -m benchmarks.manifest_steps STEP MANIFEST FIGURES``: one step of ``benchmarks.manifest_size``, in a process of its own.

Nothing is imported before the step is taken but what Python brings: what a step needs counts as its own.
"""

import contextlib
import json
import re
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

PANDAS = "pandas reads the file"
COLUMNS = ("clip_id", "prompt", "duration", "size", "campaign")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def main() -> int:
    """Take the step that is named."""
    step, manifest, figures = sys.argv[1:]
    began = time.perf_counter()
    STEPS[step](Path(manifest))
    usage = Usage(time.perf_counter() - began, time.process_time(), _peak_mib())
    Path(figures).write_text(json.dumps(asdict(usage)))
    return 0


def _peak_mib() -> float:
    """The most of this process's memory that was resident at a time."""
    with contextlib.suppress(OSError):
        # Not ru_maxrss where there is better: it begins with what the parent had at its highest.
        found = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _pandas(manifest: Path) -> None:
    import pandas as pd

    frame = pd.read_csv(manifest) if manifest.suffix == ".csv" else pd.read_parquet(manifest)
    assert len(frame.columns) == len(COLUMNS)


def _check(manifest: Path) -> None:
    import typer

    from sora_pipeline.cli.check import check

    with contextlib.suppress(typer.Exit):
        check(str(manifest), name="", output="", as_json=False)


def _read(manifest: Path) -> None:
    from sora_pipeline.advice import explained
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.production.earlier_readings import EarlierReadings
    from sora_pipeline.production.estimates import estimate
    from sora_pipeline.production.intake import open_production, read_snapshot, register, require_affordable
    from sora_pipeline.production.naming import ProductionRequest
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.settings import Settings, ledger_url
    from sora_pipeline.uris import Uri

    settings = Settings.from_env()
    catalogue = load_catalogue(settings.catalogue)
    ledger = Ledger(ledger_url(settings, prepare_home()))
    began_at = ledger.now()
    intake = open_production(ledger, settings, "", ProductionRequest(manifest=Uri(str(manifest))))
    decided = intake.decided
    snapshot = read_snapshot(intake.file, settings, catalogue, explained, EarlierReadings(ledger, decided))
    require_affordable(ledger, decided, snapshot)
    estimate(snapshot.clips, ledger, decided.plan.production_id, catalogue, settings.max_attempts)
    register(snapshot, decided, ledger, began_at, settings.max_attempts)


STEPS: Mapping[str, Callable[[Path], None]] = {PANDAS: _pandas, "check": _check, "read": _read}
"""By name; the first is what the others are compared with, and each takes the manifest. Publishing belongs here as well."""


if __name__ == "__main__":
    sys.exit(main())
