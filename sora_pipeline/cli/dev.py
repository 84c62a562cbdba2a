"""``sora-pipeline dev``: the Dagster UI and daemon on the project's own home, and the media server beside them."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from sora_pipeline.cli.dagster_output import what_goes_wrong
from sora_pipeline.cli.opening import ledger_of, open_home
from sora_pipeline.cli.output import BAD_INPUT, OK, errors, note, problem

if TYPE_CHECKING:
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.settings import Settings

LOOK_S = 0.3
STOP_S = 30.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only shown


def dev(
    host: str = typer.Option("127.0.0.1", help="Address of the UI."),
    port: int = typer.Option(3000, min=1, max=65535, help="Port of the UI."),
    media_port: int | None = typer.Option(
        None,
        min=1,
        max=65535,
        help="Port of the media server, which shows pictures and videos in the UI. Default: that of SORA_MEDIA_URL, else 3001.",
    ),
    verbose: bool = typer.Option(False, "--verbose", help="Show what Dagster logs, too."),
) -> None:
    """Open the Dagster UI, with sensors and schedules at work, on the same home as `sora-pipeline run`."""
    from sora_pipeline.headless.home import note_daemon_stopped
    from sora_pipeline.media_server.keys import read_key
    from sora_pipeline.media_server.links import MediaLinks
    from sora_pipeline.media_server.serving import listen, serving

    if importlib.util.find_spec("dagster_webserver") is None:
        problem("the Dagster UI is not installed: pip install 'sora-pipeline[ui]'")
        raise typer.Exit(BAD_INPUT)
    settings, home = open_home()
    _require_no_daemon(home)
    listen(host, port, "the Dagster UI (--port)").close()
    listener = listen(host, media_port or _port_of(settings), "the media server (--media-port)")
    media_url = settings.media_url or _address(host, listener.getsockname()[1])
    links = MediaLinks(media_url, read_key(home))
    # A shell that puts us into the background has SIGINT ignored, children inherit that, and Dagster stops by SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ledger = ledger_of(settings, home)
    _say_what_goes_on(ledger, settings)
    child = _start(host, port, media_url, verbose=verbose)
    try:
        with serving(ledger, links, listener):
            code = _wait(child, _address(host, port), home)
    finally:
        note_daemon_stopped(home)
    raise typer.Exit(code)


def _say_what_goes_on(ledger: "Ledger", settings: "Settings") -> None:
    """Before the daemon submits anything."""
    from sora_pipeline.admission.limits import account_of
    from sora_pipeline.cli.beside import beside_note, going_on
    from sora_pipeline.provider.catalogue import load_catalogue

    found = going_on(ledger, settings, load_catalogue(settings.catalogue))
    simulated = account_of(settings).simulated
    for sentence in beside_note(found, simulated=simulated, who="the daemon goes on with productions"):
        note(sentence)


def _require_no_daemon(home: Path) -> None:
    from sora_pipeline.headless.home import daemon_is_alive, open_instance

    with open_instance(home) as instance:
        if daemon_is_alive(instance, home):
            problem(
                f"a Dagster daemon is at work on {home} already; use its UI, or stop it first "
                "(one that was killed counts as alive for 75 seconds)"
            )
            raise typer.Exit(BAD_INPUT)


def _start(host: str, port: int, media_url: str, *, verbose: bool) -> "subprocess.Popen[bytes]":
    """Start Dagster, which says what goes wrong and else nothing: its sensors look every few seconds."""
    module = ["-m", "sora_pipeline.definitions", "-d", str(Path.cwd())]
    level = [] if verbose else ["--log-level", "warning"]
    executable = str(Path(sys.executable).with_name("dagster"))
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "SORA_MEDIA_URL": media_url}
    command = [executable, "dev", "-h", host, "-p", str(port), *level, *module]
    if verbose:
        return subprocess.Popen(command, env=environment)
    # Runs write each of their events, whatever the level of the others is.
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    threading.Thread(target=_show, args=(child.stdout,), daemon=True).start()
    return child


def _show(written: "IO[bytes]") -> None:
    for line in what_goes_wrong(line.decode("utf-8", "replace") for line in written):
        errors.print(line.rstrip())


def _wait(child: "subprocess.Popen[bytes]", address: str, home: Path) -> int:
    """Say where the UI is once it is there, and wait until it ends or a person ends it."""
    try:
        while (code := child.poll()) is None and not _answers(address):
            time.sleep(LOOK_S)
        if code is None:
            note(f"history and ledger are in {home}; Ctrl-C ends it")
            note(f"Dagster UI: {address}")
        return child.wait()
    except KeyboardInterrupt:
        child.terminate()
        with suppress(KeyboardInterrupt, subprocess.TimeoutExpired):  # once more: at once
            child.wait(STOP_S)
        child.kill()
        child.wait()
        return OK


def _answers(address: str) -> bool:
    with suppress(OSError, ValueError):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{address}/server_info", timeout=2):
            return True
    return False


def _port_of(settings: "Settings") -> int:
    from sora_pipeline.media_server.links import DEFAULT_PORT

    return (urlsplit(settings.media_url).port if settings.media_url else None) or DEFAULT_PORT


def _address(host: str, port: int) -> str:
    shown = _ANYWHERE.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
