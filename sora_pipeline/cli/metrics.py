"""``sora-pipeline metrics``: what Prometheus is told."""

import importlib.util
import threading
from contextlib import closing

import typer

from sora_pipeline.cli.output import BAD_INPUT, note, problem, stdout


def metrics(
    host: str = typer.Option("127.0.0.1", help="Address to serve at."),
    port: int = typer.Option(9464, help="Port to serve at."),
    once: bool = typer.Option(False, "--once", help="Print them once instead."),
) -> None:
    """Serve metrics for Prometheus: clips, money, slots, failures by kind, times, breakers. Only reads."""
    from sora_pipeline.cli.opening import open_ledger
    from sora_pipeline.headless.home import open_instance

    if importlib.util.find_spec("prometheus_client") is None:
        problem("what speaks with Prometheus is not installed: pip install 'sora-pipeline[metrics]'")
        raise typer.Exit(BAD_INPUT)
    from prometheus_client import CollectorRegistry, generate_latest, start_http_server

    from sora_pipeline.metrics.collector import LedgerCollector
    from sora_pipeline.metrics.ticks import tick_seconds

    ledger, settings, home = open_ledger()
    registry = CollectorRegistry()
    with closing(ledger), open_instance(home) as instance:
        registry.register(LedgerCollector(ledger, settings, lambda: tick_seconds(instance)))
        if once:
            stdout.write(generate_latest(registry).decode())
            return
        try:
            start_http_server(port, host, registry)
        except OSError as error:
            problem(
                f"{host}:{port} cannot be served at: {error.strerror or error}; choose another --port or --host"
            )
            raise typer.Exit(BAD_INPUT) from None
        note(f"metrics at http://{host}:{port}/metrics; Ctrl-C ends it")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return
