import fcntl
import sqlite3
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from sora_pipeline.headless.home import HomeError, open_instance, prepare_home

OPENS = """
import sys
from sora_pipeline.headless.home import open_instance, prepare_home
import dagster
home = prepare_home()
print("ready", flush=True)
sys.stdin.readline()
with open_instance(home) as instance:
    instance.get_daemon_heartbeats()
"""


def test_home_is_made_with_a_configuration_that_is_the_users_to_change(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "new" / "home"))
    made = prepare_home()
    config = yaml.safe_load((made / "dagster.yaml").read_text())
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False, "it would pay twice"
    (made / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_home()
    assert (made / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    with dg.DagsterInstance.get() as instance:
        assert instance.root_directory == str(made)


def test_commands_that_begin_together_make_a_home_that_opens(home: Path) -> None:
    (home / "dagster.yaml").unlink(missing_ok=True)
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", OPENS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    with (home / "opening.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in commands:
            assert command.stdout is not None
            assert command.stdin is not None
            assert command.stdout.readline() == "ready\n"
            command.stdin.write("\n")
            command.stdin.flush()
        with pytest.raises(subprocess.TimeoutExpired):
            commands[0].wait(1)
        assert not (home / "schedules").exists()
    for command in commands:
        said = command.communicate(timeout=60)
        assert command.returncode == 0, said
    with open_instance(home) as instance:
        assert instance.get_daemon_heartbeats() == {}


def test_home_that_others_made_twice_says_what_to_do(home: Path) -> None:
    prepare_home()
    with open_instance(home):
        pass
    database = sqlite3.connect(home / "schedules" / "schedules.db")
    with database:
        database.execute("insert into alembic_version values ('another')")
    database.close()
    with pytest.raises(
        HomeError, match=r"two processes made Dagster's databases .* history and schedules away"
    ):
        open_instance(home).__enter__()
    for folder in ("history", "schedules"):
        (home / folder).rename(home / f"{folder}.old")
    with open_instance(home) as instance:
        assert instance.get_daemon_heartbeats() == {}
