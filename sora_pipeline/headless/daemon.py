"""A Dagster daemon of our own, for as long as one is needed and no other lives on the home."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType

import dagster as dg

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.headless.home import daemon_is_alive, note_daemon_stopped

CODE_LOCATION = "sora_pipeline.definitions"
STOP_TIMEOUT_S = 30.0


class DaemonError(SoraPipelineError):
    """Raised where the daemon ended by itself; the text names its log and holds the last lines."""


class DaemonKeeper:
    """Sees to it that a daemon lives: uses one that does, starts one otherwise, stops what it started.

    Args:
        instance: The Dagster instance of the home.
        home: The Dagster home.
    """

    def __init__(self, instance: dg.DagsterInstance, home: Path) -> None:
        self._instance = instance
        self._home = home
        self._log = home / "logs" / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def own(self) -> bool:
        """Whether the daemon is one that we started."""
        return self._process is not None

    def ensure(self) -> None:
        """Start a daemon unless one lives.

        Raises:
            DaemonError: the one that we started has ended, or none can be started.
        """
        if self._process is not None:
            if self._process.poll() is not None:
                raise DaemonError(
                    f"the Dagster daemon ended; see {self._log}. Its last lines:\n{self._tail()}"
                )
            return
        if not daemon_is_alive(self._instance, self._home):
            self._start()

    def begin_to_stop(self) -> None:
        """Tell the daemon to stop if we started it. Runs under way end with it, and the ledger knows how far they were."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def stop(self) -> None:
        """See to it that the daemon has stopped if we started it."""
        if self._process is None:
            return
        process = self._process
        self.begin_to_stop()
        self._process = None
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        finally:  # also where a second Ctrl-C does not wait: it ends by itself
            note_daemon_stopped(self._home)

    def _start(self) -> None:
        try:
            self._start_logging()
        except OSError as error:
            raise DaemonError(
                f"the Dagster daemon cannot be started: {error.strerror or error} ({error.filename or self._log})"
            ) from None

    def _start_logging(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sora_pipeline.headless.daemon_with_code_server", CODE_LOCATION],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for us; we stop the daemon in order
            )

    def _tail(self, lines: int = 15) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-lines:])

    def __enter__(self) -> "DaemonKeeper":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
