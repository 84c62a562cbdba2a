"""The contender on Airflow: a deferrable task a clip, that the triggerer begins, makes and ends.

It runs in an environment of its own (``airflow.txt``) on an SQLite file: a scheduler and a triggerer, and neither a web server nor
a DAG processor. It is given what helps it: the tables are made and the DAG is read before the clock starts (``--prepare``), and
``start_from_trigger`` saves the two worker processes that a usual deferrable operator takes for each clip.

What it does not do: it has no ledger (a trigger whose triggerer dies submits its clip again, and it is paid for again), looks at
no file that it downloads, and makes no posters, gallery or manifest. It does record each task's state for its UI.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from benchmarks.arguments import Arguments, read_arguments

LOOK_S = 1.0


def main() -> int:
    """Make every clip of the manifest, or only what has to be there before; returns 1 where a task failed."""
    options = read_arguments()
    home = Path(os.environ["DAGSTER_HOME"]).with_name("airflow")
    os.environ.update(_settings(options, home))
    if options.prepare:
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            subprocess.run([_airflow(), *command], check=True)
        return 0
    services = [subprocess.Popen([_airflow(), name]) for name in ("scheduler", "triggerer")]
    try:
        return _wait(services, home / "airflow.db")
    finally:
        for service in services:
            service.send_signal(signal.SIGINT)
        for service in services:
            service.wait()


def _airflow() -> str:
    return str(Path(sys.executable).with_name("airflow"))


def _settings(options: Arguments, home: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).with_name("airflow_dags")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "10000",
        "AIRFLOW__TRIGGERER__CAPACITY": "10000",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "512",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "BENCH_MANIFEST": str(options.manifest),
        "BENCH_OUTPUT": str(options.output),
        "BENCH_URL": options.url,
        "BENCH_IN_FLIGHT": str(options.in_flight),
    }


def _wait(services: list[subprocess.Popen[bytes]], database: Path) -> int:
    """Until the DAG run has ended. It is looked up in the database: a command would cost seconds of CPU each time."""
    while all(service.poll() is None for service in services):
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
            row = connection.execute("SELECT state FROM dag_run").fetchone()
        if row in (("success",), ("failed",)):
            return int(row[0] == "failed")
        time.sleep(LOOK_S)
    codes = [service.poll() for service in services]
    print(f"scheduler and triggerer ended with {codes}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
