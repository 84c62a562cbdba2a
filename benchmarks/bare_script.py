"""The contender without a framework: one asyncio program, a semaphore, httpx. It keeps no record of anything.

``python -m benchmarks.bare_script MANIFEST OUTPUT --url URL --in-flight 20``, with the key in ``SORA_API_KEY``.
"""

import argparse
import asyncio
import csv
import os
from pathlib import Path
from typing import Any

import httpx

SUBMIT_PATH = "/api/v3/openai/sora-2-pro/text-to-video"
POLL_EVERY_S = 1.0


async def make_clip(
    client: httpx.AsyncClient, slots: asyncio.Semaphore, row: dict[str, str], output: Path
) -> None:
    """Submit, poll, download."""
    async with slots:
        order = {"prompt": row["prompt"], "duration": int(row["duration"]), "size": row["size"]}
        prediction = await _submit(client, order)
        while prediction["status"] != "completed":
            if prediction["status"] == "failed":
                raise RuntimeError(f"{row['clip_id']}: {prediction.get('error')}")
            await asyncio.sleep(POLL_EVERY_S)
            answer = (await client.get(prediction["urls"]["get"])).raise_for_status()
            prediction = answer.json()["data"]
        unfinished = output / f"{row['clip_id']}.part"
        async with client.stream("GET", prediction["outputs"][0]) as video:
            video.raise_for_status()
            with unfinished.open("wb") as file:
                async for chunk in video.aiter_bytes():
                    file.write(chunk)
        unfinished.rename(output / f"{row['clip_id']}.mp4")


async def _submit(client: httpx.AsyncClient, order: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(SUBMIT_PATH, json=order)
    if answer.status_code == 429:
        await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
        return await _submit(client, order)
    prediction: dict[str, Any] = answer.raise_for_status().json()["data"]
    return prediction


async def main() -> None:
    """Make every clip of the manifest."""
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    with options.manifest.open(newline="") as file:
        rows = list(csv.DictReader(file))
    slots = asyncio.Semaphore(options.in_flight)
    headers = {"Authorization": f"Bearer {os.environ['SORA_API_KEY']}"}
    async with (
        httpx.AsyncClient(base_url=options.url, headers=headers, timeout=60) as client,
        asyncio.TaskGroup() as group,
    ):
        for row in rows:
            group.create_task(make_clip(client, slots, row, options.output))


if __name__ == "__main__":
    asyncio.run(main())
