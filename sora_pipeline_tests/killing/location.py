"""The code location with fault points around our own functions: what a daemon loads that is to die on the way.

It holds two pipelines: the one of ``sora_pipeline.definitions``, and one of the user's own. Waits that a production takes in minutes are seconds here; nothing else differs.
"""

import asyncio
import json
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import dagster as dg

import sora_pipeline.assets.prompt_manifest as prompt_manifest_module
from sora_pipeline.assets.clip_pages import ClipPages
from sora_pipeline.automation import at_work, dispatch, manifests, publish, requests
from sora_pipeline.ledger.attempts import Attempts
from sora_pipeline.production import collecting
from sora_pipeline.production.downloading import Download
from sora_pipeline.production.publishing import CSV
from sora_pipeline.provider import registry
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.store import OutputStore
from sora_pipeline_tests.killing.points import planned, reached, reached_by_child_of
from sora_pipeline_tests.killing.second_pipeline import ACME, pipeline_of

CODE_SERVER, DAEMON = " api grpc ", "dagster-daemon"
SLOW_ANSWER = "[sandbox:slow-answer]"

manifests.ASK_AGAIN = timedelta(seconds=15)
publish.GIVEN_UP_AFTER = timedelta(seconds=15)
requests.START_S = 10.0
at_work.LEFT_ALONE = timedelta(seconds=10)
at_work.QUEUED_S = 3.0


def before(owner: Any, name: str, *points: Callable[[], None]) -> None:
    """Put points in front of a function."""
    original = getattr(owner, name)

    @wraps(original)
    def pointed(*arguments: Any, **named: Any) -> Any:
        for point in points:
            point()
        return original(*arguments, **named)

    setattr(owner, name, pointed)


def point(name: str) -> Callable[[], None]:
    return lambda: reached(name)


before(
    Attempts,
    "accept",
    point("before_accept"),
    lambda: reached_by_child_of("daemon_while_submitting", DAEMON),
)
before(Attempts, "collect", point("before_collect"))
before(Attempts, "begin_submit", point("before_intent"))
before(collecting._Collector, "_wait", point("between_videos"))
before(ClipPages, "generation", point("before_generation_shown"))
before(ClipPages, "video", point("before_video_shown"))
before(dispatch, "_request", point("after_reserve"))
before(prompt_manifest_module, "register", point("before_register"))

_begin_submit = Attempts.begin_submit


@wraps(_begin_submit)
def begin_submit(*arguments: Any, **named: Any) -> bool:
    begun = _begin_submit(*arguments, **named)
    if begun:
        reached("after_intent")
    return begun


Attempts.begin_submit = begin_submit  # type: ignore[method-assign]

_reserve = Attempts.reserve


@wraps(_reserve)
def reserve(*arguments: Any, **named: Any) -> Any:
    if named.get("owner"):
        reached("between_waves")
    return _reserve(*arguments, **named)


Attempts.reserve = reserve  # type: ignore[method-assign]

_replace_file = OutputStore.replace_file


@wraps(_replace_file)
def replace_file(store: OutputStore, local: Path, relative: str) -> None:
    if relative == CSV:  # the first after metadata.parquet
        reached("mid_publish")
    _replace_file(store, local, relative)


OutputStore.replace_file = replace_file  # type: ignore[method-assign]

_write = Download._write


@wraps(_write)
async def write(download: Download, response: Any, shown: str) -> None:
    reached_by_child_of("code_server_while_collecting", CODE_SERVER)
    if planned("mid_download"):
        content = b"".join([chunk async for chunk in response.aiter_bytes()])
        download._staged.write_bytes(content[: len(content) // 2])
        reached("mid_download")
    await _write(download, response, shown)


Download._write = write  # type: ignore[method-assign]

_make_provider = registry.make_provider


@wraps(_make_provider)
def make_provider(config: ProviderConfig, *arguments: Any) -> Any:
    provider = _make_provider(config, *arguments)
    send, ask = provider.submit, provider.poll

    async def submit(request: Any) -> Any:
        if SLOW_ANSWER not in request.prompt or not planned("in_the_post"):
            return await send(request)
        sending = asyncio.create_task(send(request))
        while not sending.done():  # one that is refused is answered without a bill
            if request.prompt in await asyncio.to_thread(billed_prompts, config.base_url):
                reached("in_the_post")
            await asyncio.sleep(0.05)
        return await sending

    async def poll(*arguments: Any) -> Any:
        answer = await ask(*arguments)
        reached("mid_poll")
        return answer

    provider.submit, provider.poll = submit, poll  # type: ignore[method-assign]
    return provider


registry.make_provider = make_provider


def billed_prompts(base_url: str) -> set[str]:
    """What the provider has accepted so far."""
    with urllib.request.urlopen(f"{base_url}/sandbox/bill", timeout=30) as answer:
        return set(json.load(answer)["by_prompt"])


# Last: what it puts together is the functions above.
import sora_pipeline.definitions as built_in  # noqa: E402

defs = dg.Definitions.merge(built_in.defs, pipeline_of(ACME).definitions())
