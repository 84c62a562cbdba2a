"""What Prometheus is told is what the ledger holds, and the dashboard and the alerts ask for nothing else."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sora_pipeline.ledger import Account, Ledger
from sora_pipeline.metrics.collector import LedgerCollector
from sora_pipeline_tests.cli.test_commands import invoke
from sora_pipeline_tests.conftest import Producer, rows_of, settings_of
from sora_pipeline_tests.ledger.world import World

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
_METRIC = re.compile(r"\bsora_[a-z0-9_]+\b")
_LABELS = re.compile(r"(sora_[a-z0-9_]+)\{([^}]*)\}")
Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]


def samples(text: str) -> Samples:
    return {
        family.name: {tuple(sorted(each.labels.items())): each.value for each in family.samples}
        for family in text_string_to_metric_families(text)
    }


def scraped(ledger: Ledger, **settings: Any) -> Samples:
    registry = CollectorRegistry()
    registry.register(LedgerCollector(ledger, settings_of(**settings), lambda: {"dispatch_sensor": 0.25}))
    return samples(generate_latest(registry).decode())


def test_metrics_are_what_the_ledger_holds(ledger: Ledger, clock: Any) -> None:
    account = Account("sandbox", "sandbox", simulated=True)
    ledger.accounts.use(account, "http://127.0.0.1:1")
    monday, tuesday = (World(ledger, clock, name=name) for name in ("monday", "tuesday"))
    for world in (monday, tuesday):
        world.register("a", "b", "c", "d")
    rendering = monday.in_flight("a")
    clock.turn(30)
    monday.succeed(rendering)
    monday.collected("b")
    monday.failed("c", retryable=False)
    late = tuesday.in_flight("a")
    tuesday.ambiguous("b")
    clock.turn(100)
    ledger.breakers.open("sandbox", "no_balance", "empty", model="sora-2")
    ledger.paused.pause_production("tuesday")
    found = scraped(ledger, max_in_flight=7, budget_daily_usd=50)
    clips = found["sora_clips"]
    assert clips[("production", "monday"), ("status", "delivered")] == 1
    assert clips[("production", "tuesday"), ("status", "ambiguous")] == 1
    assert sum(clips.values()) == 8
    assert sum(found["sora_billed_usd"].values()) == 5
    assert found["sora_slots_taken"] == {(("account", "sandbox"),): 1}
    assert found["sora_slots"] == {(("account", "sandbox"),): 7}
    assert found["sora_budget_daily_usd"] == {(("account", "sandbox"),): 50}
    assert found["sora_breaker_open"] == {
        (("account", "sandbox"), ("kind", "no_balance"), ("model", "sora-2")): 1
    }
    assert found["sora_paused"] == {(("name", "tuesday"), ("what", "production")): 1}
    assert found["sora_submits_15m"] == {(("account", "sandbox"),): 5}
    ends = {dict(labels)["outcome"]: value for labels, value in found["sora_ends_15m"].items()}
    assert ends == {"delivered": 2, "oops": 1}
    (slowest,) = (
        value for labels, value in found["sora_render_seconds"].items() if ("quantile", "0.95") in labels
    )
    assert slowest == pytest.approx(30, abs=5)
    assert found["sora_poll_delay_seconds"] == {(("account", "sandbox"),): pytest.approx(90, abs=5)}
    assert found["sora_tick_seconds"] == {(("sensor", "dispatch_sensor"),): 0.25}
    clock.turn(901)
    assert scraped(ledger)["sora_ends_15m"] == {}
    assert late


def test_metrics_are_served_and_printed(home: Path, ledger: Ledger, production: Producer) -> None:
    production(rows_of(a="a fox", b="an owl"))
    printed = samples(invoke("metrics", "--once").stdout)
    assert list(printed["sora_clips"].values()) == [2]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "sora_pipeline", "metrics", "--port", str(port)])
    try:
        served = samples(_get(f"http://127.0.0.1:{port}/metrics"))
        taken = invoke("metrics", "--port", str(port))
    finally:
        server.terminate()
        server.wait(20)
    assert served["sora_clips"] == printed["sora_clips"]
    assert taken.exit_code == 2
    assert "choose another --port" in taken.stderr


def _get(url: str) -> str:
    give_up = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.2)


def expressions() -> list[str]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"][0]["rules"]
    return asked + [rule["expr"] for rule in rules]


def test_dashboard_and_alerts_ask_only_for_what_is_served(ledger: Ledger) -> None:
    labels = {
        family.name: set(getattr(family, "_labelnames", ()))
        for family in LedgerCollector(ledger, settings_of()).collect()
    }
    asked = expressions()
    assert len(asked) > 20
    for expression in asked:
        metrics = _METRIC.findall(expression)
        assert metrics, expression
        assert set(metrics) <= set(labels), expression
        for name, matchers in _LABELS.findall(expression):
            assert set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers)) <= labels[name], expression
    assert set(labels) <= set(_METRIC.findall(" ".join(asked))), "a metric that nobody shows"
