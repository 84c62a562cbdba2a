"""A RabbitMQ server of a test's own, which it may stop and start as it likes."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

START_S = 120.0


class Broker:
    """A fresh server on a port of its own; run by the user ``rabbitmq`` where the tests are run by root."""

    def __init__(self) -> None:
        self._user: dict[str, Any] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="sora-broker-"))
        if os.geteuid() == 0:
            self._user = {"user": "rabbitmq", "group": "rabbitmq", "extra_groups": []}
            shutil.chown(self._folder, "rabbitmq", "rabbitmq")
        self._port = _free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._folder),
            "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"sora-{uuid.uuid4().hex[:8]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._port),
            "RABBITMQ_DIST_PORT": str(_free_port()),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self._folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
        }
        self.url = f"pyamqp://guest:guest@127.0.0.1:{self._port}//"
        self._server = self._started()

    def restart(self) -> None:
        """As when the machine is started anew: every connection ends, and what was on disk is there again."""
        self._stop()
        self._server = self._started()

    def remove(self) -> None:
        """Stop it, and leave nothing behind."""
        self._stop()
        shutil.rmtree(self._folder)

    def _started(self) -> "subprocess.Popen[bytes]":
        program = _program()
        with (self._folder / "said").open("ab") as said:
            server = subprocess.Popen(
                [program],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
                **self._user,
            )
        give_up = time.monotonic() + START_S
        while not _answers(self._port):
            assert server.poll() is None, (self._folder / "said").read_text()
            assert time.monotonic() < give_up, (self._folder / "said").read_text()
            time.sleep(0.2)
        return server

    def _stop(self) -> None:
        os.killpg(self._server.pid, signal.SIGTERM)
        self._server.wait(60)


def _program() -> str:
    """Debian's wrapper of the same name starts the one server of the machine."""
    found = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin") or shutil.which("rabbitmq-server")
    assert found, "RabbitMQ is not installed here"
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
