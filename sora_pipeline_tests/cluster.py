"""A PostgreSQL server of a test's own, which it may stop and start as it likes."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any


class Cluster:
    """A fresh server on a port of its own; run by the user ``postgres`` where the tests are run by root."""

    def __init__(self) -> None:
        self._user: dict[str, Any] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="sora-cluster-"))
        if os.geteuid() == 0:
            # The server refuses to be run by root.
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(self._folder, "postgres", "postgres")
        self._data = self._folder / "data"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync")
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "--wait", f"--options={options}", f"--log={self._folder / 'log'}", "start")

    def restart_at_once(self) -> None:
        """Like a power cut: no transaction is finished, no client is told, and the log is replayed."""
        self._run("pg_ctl", "--wait", "--mode=immediate", f"--log={self._folder / 'log'}", "restart")

    def remove(self) -> None:
        """Stop it, and leave nothing behind."""
        self._run("pg_ctl", "--wait", "--mode=immediate", "stop")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [_programs() / program, "-D", self._data, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=(self._folder / "said").open("w"),
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            timeout=60,
            check=False,
            **self._user,
        )
        assert done.returncode == 0, f"{program}: {(self._folder / 'said').read_text()}"


def _programs() -> Path:
    """Where the server's programs are: beside ``initdb``, or where Debian hides them."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    assert places, "no PostgreSQL server is installed here: neither initdb nor /usr/lib/postgresql"
    return places[-1]
