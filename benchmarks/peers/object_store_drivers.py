"""Stores and fetches files with s3fs and with obstore, in turn, and prints what each took as JSON.

It runs in an environment of its own (``obstore.txt``): obstore is no dependency of this project. Each file is put as a video is: only
where nothing has its name (``If-None-Match``), from a file into a file.
"""

import argparse
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CHUNK = 1024 * 1024
Put = Callable[[Path, str], object]
Get = Callable[[str, Path], object]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("bucket")
    parser.add_argument("--files", type=int, required=True)
    parser.add_argument("--mib", type=float, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    ways = {"s3fs": _s3fs(options.url, options.bucket), "obstore": _obstore(options.url, options.bucket)}
    taken: dict[str, dict[str, list[tuple[float, float]]]] = {way: {"store": [], "fetch": []} for way in ways}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.threads) as pool:
        video, folder = Path(name) / "video.mp4", Path(name)
        video.write_bytes(bytes(int(options.mib * CHUNK)))
        for put, get in ways.values():  # opens connections
            put(video, warm := uuid.uuid4().hex)
            get(warm, folder / warm)
        for _ in range(options.rounds):
            for way, (put, get) in ways.items():
                names = [f"{uuid.uuid4().hex}.mp4" for _ in range(options.files)]
                taken[way]["store"].append(_timed(pool, lambda each, put=put: put(video, each), names))
                taken[way]["fetch"].append(
                    _timed(pool, lambda each, get=get: get(each, folder / each), names)
                )
                for each in names:
                    assert (folder / each).stat().st_size == video.stat().st_size
                    (folder / each).unlink()
    print(
        json.dumps(
            {
                way: {
                    what: {
                        "wall_ms": 1000 * statistics.median(wall for wall, _ in times) / options.files,
                        "cpu_ms": 1000 * statistics.median(cpu for _, cpu in times) / options.files,
                    }
                    for what, times in by_what.items()
                }
                for way, by_what in taken.items()
            }
        )
    )


def _timed(pool: ThreadPoolExecutor, work: Callable[[str], object], names: list[str]) -> tuple[float, float]:
    """Seconds, and seconds of this process's CPU, for all of them."""
    wall, cpu = time.perf_counter(), time.process_time()
    list(pool.map(work, names))
    return time.perf_counter() - wall, time.process_time() - cpu


def _s3fs(url: str, bucket: str) -> tuple[Put, Get]:
    import s3fs

    files = s3fs.S3FileSystem(endpoint_url=url, key="test", secret="test")

    def put(local: Path, name: str) -> None:
        files.put_file(str(local), f"{bucket}/{name}", mode="create")

    def get(name: str, local: Path) -> None:
        files.get_file(f"{bucket}/{name}", str(local))

    return put, get


def _obstore(url: str, bucket: str) -> tuple[Put, Get]:
    import obstore
    from obstore.store import S3Store

    store: Any = S3Store(
        bucket,
        endpoint=url,
        access_key_id="test",
        secret_access_key="test",
        region="us-east-1",
        client_options={"allow_http": True},
    )

    def put(local: Path, name: str) -> None:
        obstore.put(store, name, local, mode="create", use_multipart=False)

    def get(name: str, local: Path) -> None:
        with local.open("wb") as file:
            for chunk in obstore.get(store, name).stream(min_chunk_size=CHUNK):
                file.write(chunk)

    return put, get


if __name__ == "__main__":
    main()
