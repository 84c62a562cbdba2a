import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from sora_pipeline.headless import supervisor

FAMILY = """
import os, pathlib, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {grandchild.pid}")
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-m", "sora_pipeline.headless.supervisor", *sys.argv[1:]], stdin=subprocess.PIPE)
time.sleep(60)
"""


def eventually(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family_of(noted: Path) -> list[int]:
    assert eventually(lambda: noted.exists() and len(noted.read_text().split()) == 2)
    return [int(pid) for pid in noted.read_text().split()]


def test_command_and_its_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    noted = tmp_path / "family"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, sys.executable, "-c", FAMILY, str(noted)])
    family = family_of(noted)
    parent.kill()
    parent.wait()
    assert eventually(lambda: not any(map(lives, family)))


def test_command_and_its_children_end_when_the_parent_closes_the_pipe(tmp_path: Path) -> None:
    noted = tmp_path / "family"
    watched = subprocess.Popen(
        [sys.executable, "-m", "sora_pipeline.headless.supervisor", sys.executable, "-c", FAMILY, str(noted)],
        stdin=subprocess.PIPE,
    )
    family = family_of(noted)
    assert watched.stdin is not None
    watched.stdin.close()
    assert watched.wait(20) != 0
    assert eventually(lambda: not any(map(lives, family)))


def test_exit_code_of_a_command_that_ends_by_itself_is_passed_on() -> None:
    command = [sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(
        [sys.executable, "-m", "sora_pipeline.headless.supervisor", *command], stdin=subprocess.PIPE
    ) as watched:
        assert watched.wait(30) == 7


def test_a_polite_signal_is_passed_on_at_once() -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(
        [sys.executable, "-m", "sora_pipeline.headless.supervisor", *command], stdin=subprocess.PIPE
    ) as watched:
        time.sleep(1.5)
        watched.send_signal(signal.SIGTERM)
        assert watched.wait(10) != 0


def test_it_imports_nothing_heavy() -> None:
    """It lives beside the daemon all the time."""
    seen = subprocess.run(
        [sys.executable, "-c", f"import sys, {supervisor.__name__}; print('dagster' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        env=dict(os.environ),
    )
    assert seen.stdout.strip() == "False"
