"""Brings clips home in a process that may write only short files, as on a full disk, and then in one that may again.

The limit holds for every file of the process, the ledger's among them. Run as
``python -m … LEDGER_URL SANDBOX_URL API_KEY CLIP_KEY…``.
"""

import asyncio
import resource
import sys
import threading

from sora_pipeline.advice import explained
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.production import submit_window
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.registry import make_provider
from sora_pipeline_tests.conftest import settings_of

ROOM_FOR_THE_LEDGER = 130_000
NO_ROOM = 4_096


def may_write(most: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))


async def main(url: str, sandbox_url: str, api_key: str, *keys: str) -> None:
    ledger = Ledger(url)
    config = ProviderConfig(name="sandbox", base_url=sandbox_url, api_key=api_key)
    async with make_provider(config) as provider:
        run_context = RunContext(ledger, provider, settings_of(), load_catalogue(), "run-1", print, explained)
        first_few = 1  # each that cannot be stored takes room for notes about it
        await ensure_predictions(run_context, keys[:first_few], batch_id="first", may_begin=True)
        await until_rendered(run_context)
        with ledger.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

        may_write(ROOM_FOR_THE_LEDGER)
        short = await collect_videos(run_context, keys[:first_few], resume_timed_out=False)
        assert set(short.failed) == set(keys[:first_few]), short
        for _, sentence in short.failed.values():
            assert sentence.startswith("store: "), sentence
            assert sentence.endswith("the video can still be fetched"), sentence

        # No room even for the ledger, while requests are on their way and for a while after.
        may_write(resource.RLIM_INFINITY)
        submitting = asyncio.create_task(
            ensure_predictions(run_context, keys[first_few:], batch_id="second", may_begin=True)
        )
        while len(ledger.attempts.live(AttemptState.SUBMITTING)) < submit_window.FIRST:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        may_write(NO_ROOM)
        threading.Timer(3.0, may_write, [resource.RLIM_INFINITY]).start()
        results = await submitting
        assert set(results.ready) == set(keys[first_few:]), results
        delivered: Collected = await collect_videos(run_context, keys, resume_timed_out=False)
        assert set(delivered.delivered) == set(keys), delivered
    ledger.close()


async def until_rendered(run_context: RunContext) -> None:
    while run_context.ledger.attempts.live(AttemptState.IN_FLIGHT):
        await sweep(
            run_context, run_context.ledger.attempts.due(100, account=run_context.account.name), budget_s=5
        )
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
