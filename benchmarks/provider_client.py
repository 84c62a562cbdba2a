"""What every contender but this project does for one clip: submit, ask each second, download. It keeps no record of anything.

Imported in the environments of the peers, too, so it needs httpx and nothing else.
"""

import asyncio
import csv
import os
from pathlib import Path
from typing import Any

import httpx

SUBMIT_PATH = "/api/v3/openai/sora-2-pro/text-to-video"
POLL_EVERY_S = 1.0
Row = dict[str, str]


def read_rows(manifest: Path) -> list[Row]:
    """The rows of the manifest, by column."""
    with manifest.open(newline="") as file:
        return list(csv.DictReader(file))


def open_client(url: str) -> httpx.AsyncClient:
    """A client of the provider at an address, with the key of ``SORA_API_KEY``."""
    headers = {"Authorization": f"Bearer {os.environ['SORA_API_KEY']}"}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=60)


async def make_clip(client: httpx.AsyncClient, row: Row, output: Path) -> Path:
    """Submit, poll, download; where the video is.

    Raises:
        RuntimeError: the provider could not make it.
    """
    prediction = await _submit(client, row)
    while prediction["status"] != "completed":
        if prediction["status"] == "failed":
            raise RuntimeError(f"{row['clip_id']}: {prediction.get('error')}")
        await asyncio.sleep(POLL_EVERY_S)
        answer = (await client.get(prediction["urls"]["get"])).raise_for_status()
        prediction = answer.json()["data"]
    unfinished, video = output / f"{row['clip_id']}.part", output / f"{row['clip_id']}.mp4"
    async with client.stream("GET", prediction["outputs"][0]) as response:
        response.raise_for_status()
        with unfinished.open("wb") as file:
            async for chunk in response.aiter_bytes():
                file.write(chunk)
    return unfinished.rename(video)


async def _submit(client: httpx.AsyncClient, row: Row) -> dict[str, Any]:
    order = {"prompt": row["prompt"], "duration": int(row["duration"]), "size": row["size"]}
    while (answer := await client.post(SUBMIT_PATH, json=order)).status_code == 429:  # noqa: ASYNC110 - it says how long
        await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
    prediction: dict[str, Any] = answer.raise_for_status().json()["data"]
    return prediction
