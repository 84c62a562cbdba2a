"""The benchmarks still run: the smallest task that each takes, and its quickest contender. No time is asserted."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import (
    capacity,
    growth,
    ledger_size,
    looks,
    makespan,
    manifest_size,
    object_stores,
    publishing,
    start,
    verification,
)
from benchmarks.comparison import medians, table, typical
from benchmarks.contenders import CONTENDERS
from benchmarks.events import VARIANTS, Variant, cost_of_clip
from benchmarks.growth import production_figures
from benchmarks.measure import Usage
from benchmarks.moments import SUBMITTED, median_moments, phases
from benchmarks.peers import environments
from benchmarks.peers.environments import PeerNotInstalledError, python_of
from benchmarks.reporting import console
from benchmarks.slots import in_use, share_in_use
from benchmarks.trial import Result, Task, renders_of

PEERS = [contender.peer for contender in CONTENDERS.values() if contender.peer]


def a_result(contender: str, makespan_s: float | None, **other: object) -> Result:
    """A trial of two clips, as it is where nothing else is said."""
    values: dict[str, object] = {
        "contender": contender,
        "problem": None,
        "delivered": 2,
        "accepted": 2,
        "duplicates": 0,
        "makespan_s": makespan_s,
        "first_video_s": 1.0,
        "first_submit_s": 0.5,
        "last_submit_s": 0.6,
        "ended_s": 100.0,
        "slots_used": 0.9,
        "renders": ((0.5, 1.0), (0.6, 1.1)),
        "usage": Usage(1.0, 1.0, 1.0, 10**8, "pss", 3, {}),
        "otherwise_busy": 0.0,
        "load": 0.0,
        "log_tail": "",
    }
    return Result(**{**values, **other})  # type: ignore[arg-type]


def a_task() -> Task:
    return Task(clips=2, render_s=0.5, in_flight=2, timeout_s=100, settings={})


# ---- what is reckoned


def test_slots_in_use_rise_and_fall_with_the_renders() -> None:
    assert in_use([(1.0, 4.0), (2.0, 3.0)]) == [(0.0, 0), (1.0, 1), (2.0, 2), (3.0, 1), (4.0, 0)]


def test_a_slot_that_is_taken_again_at_once_is_one_slot() -> None:
    assert max(count for _, count in in_use([(0.0, 1.0), (1.0, 2.0)])) == 1


def test_the_share_of_slots_counts_only_what_rendered_between_the_moments() -> None:
    assert share_in_use([(0.0, 10.0), (4.0, 6.0)], slots=2, begin=4.0, end=8.0) == pytest.approx(6 / 8)


def test_there_is_no_share_of_no_time() -> None:
    assert share_in_use([(0.0, 1.0)], slots=1, begin=1.0, end=1.0) is None


def test_a_render_that_never_ended_ends_with_the_command() -> None:
    item = {"accepted_at": "2026-01-01T00:00:10.000+00:00", "ended_at": None}
    began_at = 1767225600.0  # 2026-01-01T00:00:00Z
    assert renders_of({"items": [item]}, began_at, ended_s=25.0) == ((10.0, 25.0),)


def test_figures_are_medians_of_the_trials_that_count() -> None:
    trials = [a_result("script", 10.0), a_result("script", 30.0), a_result("script", 12.0)]
    failed = a_result("script", 1.0, problem="ended with exit code 1")
    assert medians([*trials, failed])["script"]["all videos after"] == 12.0


def test_the_typical_trial_is_the_one_with_the_median_makespan() -> None:
    trials = [a_result("script", 10.0), a_result("script", 30.0), a_result("script", 12.0)]
    assert typical(trials) is trials[2]
    assert typical([]) is None


def test_the_table_compares_with_the_script_and_with_this_project() -> None:
    drawn = table("", [a_result("script", 10.0), a_result("project", 20.0), a_result("prefect", 15.0)])
    shown = [next(iter(column.cells)) for column in drawn.columns]
    assert shown == [
        "all videos after",
        "10.0 s (1.00x, 0.50x)",
        "20.0 s (2.00x, 1.00x)",
        "15.0 s (1.50x, 0.75x)",
    ]


def test_the_table_says_how_many_trials_failed() -> None:
    drawn = table("", [a_result("script", 10.0), a_result("script", None, problem="stopped after 5 s")])
    assert list(drawn.columns[0].cells)[-1] == "failed trials"
    assert list(drawn.columns[1].cells)[-1] == "1"


def test_a_production_whose_time_was_over_is_shared_among_what_was_delivered() -> None:
    stopped = a_result("project", None, problem="stopped after 100 s", delivered=1)
    figures = production_figures(a_task(), stopped)
    assert (figures["problem"], figures["cpu_per_clip_s"]) == (None, 1.0)
    nothing = a_result("project", None, problem="stopped after 100 s", delivered=0)
    assert production_figures(a_task(), nothing)["problem"] == "stopped after 100 s"
    broken = a_result("project", None, problem="ended with exit code 1", ended_s=3.0)
    assert production_figures(a_task(), broken)["problem"] == "ended with exit code 1"


def test_phases_follow_one_another_whatever_the_order_they_are_given_in() -> None:
    moments = {
        "at work": 14.0,
        SUBMITTED: 15.0,
        "requested": 11.0,
        "rendered": 20.0,
        "of an earlier one": 9.0,
    }
    taken = phases(10.0, moments, SUBMITTED)
    assert list(taken.items()) == [("requested", 1.0), ("at work", 3.0), (SUBMITTED, 1.0)]


def test_there_are_no_phases_to_what_was_never_reached() -> None:
    assert phases(0.0, {"requested": 1.0}, SUBMITTED) == {}


def test_only_moments_that_every_trial_reached_have_a_median() -> None:
    assert median_moments([{"a": 1.0, "b": 2.0}, {"a": 3.0}, {"a": 5.0, "b": 4.0}]) == {"a": 3.0}
    assert median_moments([]) == {}


@pytest.mark.parametrize("peer", [*PEERS, object_stores.PEER])
def test_every_package_of_a_peer_is_pinned(peer: str) -> None:
    packages = (environments.HERE / f"{peer}.txt").read_text("utf-8").splitlines()
    assert packages
    assert [line for line in packages if not re.match(r"[a-z0-9._-]+==\S+( ; .+)?$", line)] == []


def test_a_peer_that_cannot_be_installed_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "HERE", tmp_path)
    (tmp_path / "peer.txt").write_text("/no/such/package.whl\n")
    with pytest.raises(PeerNotInstalledError, match=r"peer cannot be installed here.*package\.whl"):
        python_of("peer", tmp_path)
    assert not (tmp_path / "peer" / "installed.txt").exists()


def test_other_contenders_go_on_where_a_peer_cannot_be_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "HERE", tmp_path)
    monkeypatch.setattr("benchmarks.makespan.python_of", lambda peer: python_of(peer, tmp_path))
    for peer in PEERS:
        (tmp_path / f"{peer}.txt").write_text("/no/such/package.whl\n")
    with console.capture() as said:
        found = makespan._installed([*CONTENDERS], lambda _: None)
    assert [contender.name for contender in found] == ["script", "project", "run-per-clip"]
    assert all(f"{peer} cannot be installed here" in " ".join(said.get().split()) for peer in PEERS)


# ---- what is run


@pytest.fixture(autouse=True)
def handlers_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks' signal handlers are those of a process of its own."""
    monkeypatch.setattr("signal.signal", lambda *_: None)


def test_the_script_delivers_and_is_measured_and_drawn(tmp_path: Path) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "slots.svg"
    small = ["--only", "script", "--clips", "1", "--render", "0.2", "--in-flight", "1", "--timeout", "60"]
    assert makespan.main([*small, "--repeat", "2", "--json", str(figures), "--plot", str(plot)]) == 0
    results = json.loads(figures.read_text())["results"]
    assert len(results) == 2
    for result in results:
        assert (result["delivered"], result["accepted"], result["duplicates"]) == (1, 1, 0)
        assert result["makespan_s"] > 0
        assert result["usage"]["cpu_s"] > 0
        ((begin, end),) = result["renders"]
        assert 0 < begin < end
    text = "".join(ElementTree.parse(plot).getroot().itertext())
    assert "bare script" in text


def test_a_small_ledger_is_filled_and_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    assert ledger_size.main(["--attempts", "2000", "--json", str(figures)]) == 0
    timings = json.loads(figures.read_text())["milliseconds"]["SQLite"]
    assert all(taken > 0 for taken in timings.values()), timings


def test_verification_is_measured_and_finds_what_other_ways_miss(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    small = ["--sizes", "720x1280", "--durations", "1", "--rounds", "1", "--damaged", "20"]
    assert verification.main([*small, "--json", str(figures)]) == 0
    measured = json.loads(figures.read_text())
    assert all(cost["cpu_ms"] > 0 for cost in measured["milliseconds"]["sandbox 720p 1 s"].values())
    usual = measured["damaged"][verification.IN_USE]
    assert usual["found"] > 15
    assert (usual["missed"], usual["changed"]) == (0, 0)
    assert all(figure["found"] <= usual["found"] for figure in measured["damaged"].values())


def test_looks_at_a_small_production_are_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    assert looks.main(["--clips", "200", "--json", str(figures)]) == 0
    timings = json.loads(figures.read_text())["200"]
    assert all(wall > 0 for _, wall in timings.values()), timings


def test_small_manifests_are_written_and_each_step_is_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    assert manifest_size.main(["--rows", "200", "--json", str(figures)]) == 0
    measured = json.loads(figures.read_text())["manifests"]
    assert measured.keys() == {"200 rows, csv", "200 rows, parquet"}
    for steps in measured.values():
        assert list(steps) == list(manifest_size.STEPS)
        assert all(usage["cpu_s"] > 0 and usage["peak_mib"] > 10 for usage in steps.values())


@pytest.mark.timeout(600)
def test_a_small_home_is_filled_and_measured_and_drawn(tmp_path: Path) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "growth.svg"
    small = ["--part", "loaded", "--clips", "4"]
    assert growth.main([*small, "--json", str(figures), "--plot", str(plot)]) == 0
    (loaded,) = json.loads(figures.read_text())["loaded"]
    assert loaded["clips"] == 4
    assert {"read the manifest", "publish", "look, nothing to do"} <= loaded["seconds"].keys()
    assert {"metadata.parquet", "manifest.csv", "ledger"} <= loaded["bytes"].keys()
    assert "dispatch_sensor, nothing to do" in "".join(ElementTree.parse(plot).getroot().itertext())


@pytest.mark.parametrize("variant", VARIANTS[:3], ids=lambda variant: variant.name)
def test_events_of_a_clip_are_measured_in_each_way_to_keep_them(tmp_path: Path, variant: Variant) -> None:
    assert cost_of_clip(variant, 3, tmp_path)["cpu_ms"] > 0


@pytest.mark.timeout(600)
def test_a_start_is_taken_apart_and_drawn(tmp_path: Path) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / "start.svg"
    assert start.main(["--only", "fresh", "--json", str(figures), "--plot", str(plot)]) == 0
    (moments,) = json.loads(figures.read_text())["typical"].values()
    in_order = ["asked for in the ledger", "first request begun", SUBMITTED, "first video on disk"]
    assert [name for name in sorted(moments, key=moments.__getitem__) if name in in_order] == in_order
    assert SUBMITTED in "".join(ElementTree.parse(plot).getroot().itertext())


def test_publishing_is_measured(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert publishing.main(["--rows", "40", "--folder", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == ["publish", "publish again", "pandas reads it"]


@pytest.mark.services
def test_drivers_of_object_stores_are_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    small = ["--files", "2", "--mib", "0.1", "--threads", "2", "--rounds", "1", "--json", str(file)]
    assert object_stores.main(small) == 0
    measured = json.loads(file.read_text())
    assert set(measured) == {"s3fs", "obstore"}
    for by_what in measured.values():
        assert all(value > 0 for taken in by_what.values() for value in taken.values())


@pytest.mark.deployment
@pytest.mark.timeout(900)
def test_what_a_worker_carries_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    small = ["--clips", "6", "--slots", "6", "--render", "1", "--workers", "1", "--json", str(file)]
    assert capacity.main(small) == 0
    (measured,) = json.loads(file.read_text())["capacity"]
    assert measured["workers"] == 1
    assert all(value > 0 for value in measured.values())
