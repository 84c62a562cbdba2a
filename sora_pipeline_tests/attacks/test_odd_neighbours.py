"""Whatever happens to one clip stays with that clip: the others of its run are submitted, polled, fetched and published."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sora_pipeline.ledger import AttemptState
from sora_pipeline.media import poster
from sora_pipeline.production import collecting, sending, storing
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.protocol import Accepted, Prediction, Provider, SubmitRequest
from sora_pipeline_tests.conftest import (
    PROMPTS,
    Producer,
    RunContexts,
    Sandbox,
    ids,
    key,
    keys,
    latest,
    other_run,
    rows_of,
    standing,
    states,
)

pytestmark = pytest.mark.anyio

ALL = ("a", "b", "odd", "z")
OTHERS = ("a", "b", "z")
SECRET_URL = "https://host/video.mp4?signature=s3cr3t"


class _Odd(Exception):
    """An error that nothing in the program knows."""


def _raise(*_: Any, **__: Any) -> Any:
    raise _Odd(f"of {SECRET_URL} and its peculiar bytes")


def _only_for_odd(function: Callable[..., Any], is_odd: Callable[..., bool]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return _raise() if is_odd(*args, **kwargs) else function(*args, **kwargs)

    return wrapper


async def ensure(context: RunContext) -> Any:
    return await ensure_predictions(context, keys(*ALL), batch_id=context.owner, may_begin=True)


@pytest.fixture
def made(production: Producer) -> Any:
    return production(rows_of(a="a fox", b="an owl", odd="an odd one", z="a bear"))


async def test_a_file_that_raises_anything_leaves_the_other_downloads_alone(
    run_context: RunContext, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ensure(run_context)

    def odd(path: Path, **_: Any) -> bool:
        return "-odd-" in path.name

    with monkeypatch.context() as patch:
        patch.setattr(collecting, "verify_video", _only_for_odd(collecting.verify_video, odd))
        collected = await collect_videos(run_context, keys(*ALL), resume_timed_out=False)
    assert set(ids(collected.delivered)) == set(OTHERS)
    assert "unexpected _Odd" in collected.failed[key("odd")][1]
    assert "s3cr3t" not in collected.failed[key("odd")][1]
    assert latest(run_context.ledger, "odd").state is AttemptState.SUCCEEDED, (
        "it is paid, and stays fetchable"
    )
    again = await collect_videos(other_run(run_context), keys("odd"), resume_timed_out=False)
    assert ids(again.delivered) == ["odd"]


@pytest.mark.parametrize("what", ["poster", "sidecar"])
async def test_a_poster_or_sidecar_that_fails_does_not_fail_the_clip(
    run_context: RunContext, made: Any, contexts: RunContexts, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    await ensure(run_context)
    monkeypatch.setattr(*{"poster": (poster, "_small_jpeg"), "sidecar": (storing, "_sidecar")}[what], _raise)
    collected = await collect_videos(run_context, keys(*ALL), resume_timed_out=False)
    assert set(ids(collected.delivered)) == set(ALL)
    assert len(collected.posters) == (0 if what == "poster" else len(ALL))
    said = [sentence for sentence in contexts.said if "its video is stored, but" in sentence]
    assert len(said) == len(ALL)
    assert not [sentence for sentence in said if "s3cr3t" in sentence]
    surveyed = publish(run_context.ledger, PROMPTS, run_context.settings, "test")
    assert surveyed is not None
    assert surveyed.counts == {"delivered": len(ALL)}


class _OddProvider:
    """The sandbox's provider, but for one clip, of which it raises what no provider may."""

    def __init__(self, provider: Provider, *, submit: bool = False, poll: str = "") -> None:
        self._provider, self._submit, self._poll = provider, submit, poll

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def submit(self, request: SubmitRequest) -> Accepted:
        if self._submit and request.prompt == "an odd one":
            _raise()
        return await self._provider.submit(request)

    async def poll(self, prediction_id: str, poll_url: str | None) -> Prediction:
        if prediction_id == self._poll:
            _raise()
        return await self._provider.poll(prediction_id, poll_url)


async def test_a_submit_that_raises_anything_is_parked_and_the_others_are_sent(
    run_context: RunContext, made: Any, sandbox: Sandbox
) -> None:
    provider = _OddProvider(run_context.provider, submit=True)
    object.__setattr__(run_context, "provider", provider)
    results = await ensure(run_context)
    assert set(ids(results.ready)) == set(OTHERS)
    assert "may have been billed" in results.failed[key("odd")]
    assert latest(run_context.ledger, "odd").state is AttemptState.AMBIGUOUS
    assert sandbox.billed == len(OTHERS)


async def test_an_image_that_raises_anything_costs_nothing_and_the_others_are_sent(
    run_context: RunContext, made: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(_: RunContext, its_standing: Any) -> bool:
        return bool(its_standing.clip.clip_id == "odd")

    with monkeypatch.context() as patch:
        patch.setattr(sending, "_request", _only_for_odd(sending._request, odd))
        results = await ensure(run_context)
    assert set(ids(results.ready)) == set(OTHERS)
    assert "unexpected _Odd" in results.failed[key("odd")]
    assert latest(run_context.ledger, "odd").state is AttemptState.FAILED
    assert standing(run_context.ledger, "odd").status(3) == "failed"
    assert sandbox.billed == len(OTHERS)


async def test_a_poll_that_raises_anything_is_asked_again_and_the_others_are_recorded(
    run_context: RunContext, made: Any, sandbox: Sandbox
) -> None:
    await ensure(run_context)
    odd = latest(run_context.ledger, "odd").submission.prediction_id or ""
    broken = other_run(run_context)
    object.__setattr__(broken, "provider", _OddProvider(run_context.provider, poll=odd))
    flying = run_context.ledger.attempts.live(AttemptState.IN_FLIGHT)
    while sandbox.http.get("/sandbox/health").json()["running"]:
        pass
    swept = await sweep(broken, flying, budget_s=20)
    assert swept.counts == {"rendered": len(OTHERS), "still rendering": 1}
    assert states(run_context.ledger, list(ALL)) == {
        **dict.fromkeys(OTHERS, AttemptState.SUCCEEDED),
        "odd": AttemptState.IN_FLIGHT,
    }
    await sweep(run_context, [latest(run_context.ledger, "odd")], budget_s=20)
    assert latest(run_context.ledger, "odd").state is AttemptState.SUCCEEDED
