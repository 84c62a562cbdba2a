"""The contender on Prefect: one flow, an async task a clip, and a semaphore for the provider's slots.

It runs in an environment of its own (``prefect.txt``), against the server that Prefect starts for a flow that has none, on an
SQLite file. It is given what helps it: the server's tables are made before the clock starts (``--prepare``), no log goes to the
server, no result is kept, and the slots are a semaphore of the process instead of a limit that the server keeps.

What it does not do: it has no ledger (a clip whose process dies is submitted and paid for again), looks at no file that it
downloads, and makes no posters, gallery or manifest. It does record each clip's state for its UI.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.arguments import Arguments, read_arguments
from benchmarks.provider_client import Row, make_clip, open_client, read_rows

SETTINGS = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_LOGGING_TO_API_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def main() -> None:
    """Make every clip of the manifest, or only what has to be there before."""
    options = read_arguments()
    os.environ.update(SETTINGS, PREFECT_HOME=str(Path(os.environ["DAGSTER_HOME"]).with_name("prefect")))
    if options.prepare:
        prefect = str(Path(sys.executable).with_name("prefect"))
        subprocess.run([prefect, "server", "database", "upgrade", "--yes"], check=True)
    else:
        asyncio.run(_flow(options))


async def _flow(options: Arguments) -> None:
    from prefect import flow, task  # reads its settings when it is imported
    from prefect.cache_policies import NO_CACHE

    slots = asyncio.Semaphore(options.in_flight)

    @task(task_run_name="{clip_id}", cache_policy=NO_CACHE, persist_result=False)
    async def clip(clip_id: str, row: Row) -> None:
        await make_clip(client, row, options.output)

    async def make(row: Row) -> None:
        async with slots:
            await clip(row["clip_id"], row)

    @flow
    async def clips() -> None:
        await asyncio.gather(*(make(row) for row in read_rows(options.manifest)))

    async with open_client(options.url) as client:
        await clips()


if __name__ == "__main__":
    main()
