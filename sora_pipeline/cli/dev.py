"""``sora-pipeline dev``: the Dagster UI and daemon on the project's own home, and the media server beside them."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from sora_pipeline.cli.dagster_output import what_goes_wrong
from sora_pipeline.cli.opening import ledger_of, open_home
from sora_pipeline.cli.output import BAD_INPUT, BUILT_IN, OK, errors, note, problem

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
    from sora_pipeline.agreement import settings_shown
    from sora_pipeline.headless.commands import at_work
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
    with (
        at_work(home, settings_shown(settings, ledger.ledger_id)),
        closing(_Dagster(host, port, media_url, verbose=verbose)) as dagster,
    ):
        try:
            with serving(ledger, links, listener):
                code = _wait(dagster, _address(host, port), home)
        except KeyboardInterrupt:
            code = OK
            dagster.hush()
            with suppress(KeyboardInterrupt):  # once more: at once
                _stop(dagster, ledger, settings)
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


class _Dagster:
    """``dagster dev``, which ends with us, however we end.

    It has a session of its own: Ctrl-C in the terminal is for us, and Dagster's processes would each write how they were interrupted.

    Args:
        host: Address of the UI.
        port: Its port.
        media_url: Where the media server is.
        verbose: Show all that it logs; else what goes wrong: its sensors look every few seconds.
    """

    def __init__(self, host: str, port: int, media_url: str, *, verbose: bool) -> None:
        module = ["-m", "sora_pipeline.definitions", "-d", str(Path.cwd())]
        level = [] if verbose else ["--log-level", "warning"]
        dagster = [str(Path(sys.executable).with_name("dagster")), "dev", "-h", host, "-p", str(port), *level]
        self._hushed = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sora_pipeline.headless.supervisor", *dagster, *module],
            env={**os.environ, "PYTHONWARNINGS": "ignore", "SORA_MEDIA_URL": media_url},
            stdin=subprocess.PIPE,
            # Runs write each of their events, whatever the level of the others is.
            stdout=None if verbose else subprocess.PIPE,
            stderr=None if verbose else subprocess.STDOUT,
            start_new_session=True,
        )
        if not verbose:
            threading.Thread(target=self._show, args=(self._process.stdout,), daemon=True).start()

    def _show(self, written: "IO[bytes]") -> None:
        for line in what_goes_wrong(line.decode("utf-8", "replace") for line in written):
            if not self._hushed:
                errors.print(line.rstrip())

    def hush(self) -> None:
        """Show nothing further: what is interrupted says so."""
        self._hushed = True

    def ended(self) -> int | None:
        """Its exit code; None: it lives."""
        return self._process.poll()

    def wait(self, seconds: float | None = None) -> int | None:
        """The same, once it has ended, or so many seconds are over."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def close(self) -> None:
        """Have it end, with all its processes."""
        assert self._process.stdin is not None
        self._process.stdin.close()


def _wait(dagster: _Dagster, address: str, home: Path) -> int:
    """Say where the UI is once it is there, and wait until it ends."""
    while dagster.ended() is None and not _answers(address):
        time.sleep(LOOK_S)
    if dagster.ended() is None:
        note(f"history and ledger are in {home}; Ctrl-C ends it")
        note(f"Dagster UI: {address}")
    return dagster.wait() or OK


def _stop(dagster: _Dagster, ledger: "Ledger", settings: "Settings") -> None:
    """End it in order: what is submitted at this moment is answered first."""
    from sqlalchemy.exc import DBAPIError

    from sora_pipeline.headless.last_submits import let_submits_end

    with suppress(DBAPIError):  # it ends, whether or not the ledger can be asked
        paused = let_submits_end(ledger, settings, BUILT_IN)
        dagster.close()
        dagster.wait(STOP_S)
        if paused is not None:
            ledger.pauses.lift(settings.account_name, paused)


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
