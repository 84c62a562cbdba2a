"""``sora-pipeline dev`` takes all of Dagster's processes with it, however it ends, and says nothing of that."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline_tests.conftest import url_of_ledger

PATIENCE_S = 200.0
Dev = Callable[[], "subprocess.Popen[str]"]


@pytest.fixture
def dev(home: Path, tmp_path: Path) -> Dev:
    """Start it as a terminal does: in a group of its own, all of which gets the terminal's signals."""
    ports = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            ports.append(str(free.getsockname()[1]))

    def start() -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "sora_pipeline", "dev", "--port", ports[0], "--media-port", ports[1]]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=tmp_path,
            start_new_session=True,
        )

    return start


def family_of(process: "subprocess.Popen[str]", *, at_least: int) -> list[psutil.Process]:
    """All that it has started, once it is so many processes."""
    give_up = time.monotonic() + PATIENCE_S
    while len(family := psutil.Process(process.pid).children(recursive=True)) < at_least:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < give_up, family
        time.sleep(0.2)
    return family


def line_that_begins(process: "subprocess.Popen[str]", words: str) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith(words):
            return line
    raise AssertionError("".join(said))


@pytest.mark.timeout(600)
def test_killed_it_leaves_nothing_behind_that_would_go_on_paying(dev: Dev) -> None:
    process = dev()
    line_that_begins(process, "Dagster UI:")
    family = family_of(process, at_least=4)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive


@pytest.mark.timeout(600)
def test_ctrl_c_ends_it_without_a_word_also_while_it_starts(dev: Dev, home: Path) -> None:
    for starting in (True, False):
        process = dev()
        if starting:
            family = family_of(process, at_least=2)
            time.sleep(1.5)
        else:
            line_that_begins(process, "Dagster UI:")
            family = family_of(process, at_least=4)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, said) == (0, "")
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive
    ledger = Ledger(url_of_ledger(home))
    assert ledger.pauses.left_s("sandbox") == 0
