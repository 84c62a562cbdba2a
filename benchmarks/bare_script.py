"""The contender without a framework: one asyncio program, a semaphore, httpx. It keeps no record of anything.

``python -m benchmarks.bare_script MANIFEST OUTPUT --url URL --in-flight 20``, with the key in ``SORA_API_KEY``.
"""

import asyncio

from benchmarks.arguments import read_arguments
from benchmarks.provider_client import Row, make_clip, open_client, read_rows


async def main() -> None:
    """Make every clip of the manifest."""
    options = read_arguments()
    slots = asyncio.Semaphore(options.in_flight)

    async def make(row: Row) -> None:
        async with slots:
            await make_clip(client, row, options.output)

    async with open_client(options.url) as client, asyncio.TaskGroup() as group:
        for row in read_rows(options.manifest):
            group.create_task(make(row))


if __name__ == "__main__":
    asyncio.run(main())
