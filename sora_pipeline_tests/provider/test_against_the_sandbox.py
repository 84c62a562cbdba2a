"""The same behaviour over every wire format, against a running sandbox that speaks it."""

import asyncio
import hashlib
import io
import time

import pytest

from sora_pipeline.media.boxes import looks_like_mp4
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    ModelGoneError,
    ProviderError,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.protocol import Accepted, InputImage, Prediction, PredictionState, Provider
from sora_pipeline.provider.registry import make_provider
from sora_pipeline_tests.conftest import Sandbox
from sora_pipeline_tests.provider.conftest import asking_for

pytestmark = pytest.mark.anyio


async def submit(provider: Provider, fault: str | None = None) -> Accepted:
    return await provider.submit(asking_for(f"a fox [sandbox:{fault}]" if fault else "a fox"))


async def until_settled(provider: Provider, accepted: Accepted) -> Prediction:
    deadline = time.monotonic() + 30
    while True:
        prediction = await provider.poll(accepted.prediction_id, accepted.poll_url)
        if prediction.state in (PredictionState.SUCCEEDED, PredictionState.FAILED):
            return prediction
        assert time.monotonic() < deadline, prediction
        await asyncio.sleep(0.03)


async def rendered(provider: Provider, fault: str | None = None) -> tuple[Accepted, Prediction]:
    accepted = await submit(provider, fault)
    prediction = await until_settled(provider, accepted)
    assert prediction.state is PredictionState.SUCCEEDED, prediction
    return accepted, prediction


async def download(provider: Provider, prediction: Prediction) -> tuple[int, bytes]:
    async with provider.open_output(prediction.output_urls[0]) as response:
        return response.status_code, await response.aread()


# --- all is well -------------------------------------------------------------------------------------------------------


async def test_clip_is_submitted_polled_and_downloaded(
    provider: Provider, wire: str, sandbox: Sandbox
) -> None:
    accepted, prediction = await rendered(provider)
    assert accepted.warning is prediction.warning is None
    assert (accepted.model_returned or "").endswith("sora-2-pro")
    status, content = await download(provider, prediction)
    assert status == 200
    assert looks_like_mp4(content)
    (item,) = sandbox.bill()["items"]
    assert item["prediction_id"] == accepted.prediction_id
    assert item["format"] == ("gptproto" if wire == "sandbox" else wire)
    assert (item["duration"], item["size"], item["cost_usd"]) == (4, "1280x720", "1.20")


async def test_key_goes_to_no_output(provider: Provider, sandbox: Sandbox) -> None:
    """Not even where outputs lie on the API's own origin, as the sandbox's do."""
    _, prediction = await rendered(provider)
    assert prediction.output_urls[0].startswith(sandbox.url)
    assert (await download(provider, prediction))[0] == 200
    assert sandbox.bill()["keys_leaked"] == 0


async def test_key_goes_to_no_other_origin(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.change(output_base_url=sandbox.url.replace("127.0.0.1", "localhost"))
    _, prediction = await rendered(provider)
    assert (await download(provider, prediction))[0] == 200
    assert sandbox.bill()["keys_leaked"] == 0


async def test_first_frame_arrives_byte_for_byte(provider: Provider, sandbox: Sandbox) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (1280, 720), (200, 30, 60)).save(out, "PNG")
    await provider.submit(asking_for(image=InputImage(out.getvalue(), "image/png")))
    (item,) = sandbox.bill()["items"]
    assert item["image_sha256"] == hashlib.sha256(out.getvalue()).hexdigest()


async def test_key_and_models_can_be_asked_for_without_a_bill(provider: Provider, sandbox: Sandbox) -> None:
    assert (await provider.check_key()).accepted is True
    assert [await provider.model_exists(name) for name in ("sora-2-pro", "wan-2.6")] == [True, True]
    assert await provider.model_exists("sora-9") is False
    sandbox.change(model_gone=True)
    assert await provider.model_exists("sora-2-pro") is False
    sandbox.change(model_gone=False, key_revoked=True)
    check = await provider.check_key()
    assert (check.accepted, check.kind) == (False, ErrorKind.BAD_TOKEN)
    assert await provider.model_exists("sora-2-pro") is None
    sandbox.change(key_revoked=False, outage="503")
    check = await provider.check_key()
    assert (check.accepted, check.kind) == (None, ErrorKind.UNAVAILABLE)
    sandbox.change(outage="none")
    assert sandbox.bill()["accepted"] == 0


# --- submits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "kind"),
    [
        ("policy", RejectedError, ErrorKind.CONTENT_POLICY),
        ("bad-token", BlockedError, ErrorKind.BAD_TOKEN),
        ("no-balance", BlockedError, ErrorKind.NO_BALANCE),
        ("model-gone", ModelGoneError, ErrorKind.MODEL_GONE),
        ("content-403", RejectedError, ErrorKind.CONTENT_POLICY),
        ("error-500", AmbiguousSubmitError, ErrorKind.AMBIGUOUS_SUBMIT),
        ("error-503", TransientError, ErrorKind.UNAVAILABLE),
        ("error-503-once", TransientError, ErrorKind.UNAVAILABLE),
        ("rate-limit-once", TransientError, ErrorKind.RATE_LIMITED),
        ("html-502", AmbiguousSubmitError, ErrorKind.AMBIGUOUS_SUBMIT),
        ("reset", AmbiguousSubmitError, ErrorKind.AMBIGUOUS_SUBMIT),
    ],
)
async def test_refused_submit_means_the_same_in_every_format(
    provider: Provider, sandbox: Sandbox, fault: str, error: type[ProviderError], kind: ErrorKind
) -> None:
    with pytest.raises(error) as caught:
        await submit(provider, fault)
    assert caught.value.kind is kind
    assert sandbox.bill()["accepted"] == 0
    if isinstance(caught.value, TransientError) and kind is ErrorKind.RATE_LIMITED:
        assert caught.value.retry_after_s == 1
    if fault.endswith("-once"):
        await submit(provider, fault)


@pytest.mark.parametrize("fault", ["lost-answer", "lost-answer-once"])
async def test_lost_answer_is_ambiguous_and_billed(provider: Provider, sandbox: Sandbox, fault: str) -> None:
    with pytest.raises(AmbiguousSubmitError):
        await submit(provider, fault)
    assert sandbox.bill()["accepted"] == 1


async def test_other_submits_that_are_not_accepted(provider: Provider, sandbox: Sandbox) -> None:
    with pytest.raises(ModelGoneError) as unknown:
        await provider.submit(asking_for(model="sora-9"))
    assert unknown.value.kind is ErrorKind.MODEL_GONE
    sandbox.change(max_running=1, render_s=60)
    await submit(provider)
    with pytest.raises(TransientError) as full:
        await submit(provider)
    assert full.value.kind is ErrorKind.RATE_LIMITED
    sandbox.change(key_revoked=True)
    with pytest.raises(BlockedError) as revoked:
        await submit(provider)
    assert revoked.value.kind is ErrorKind.BAD_TOKEN
    assert sandbox.bill()["accepted"] == 1


async def test_image_of_another_size_is_a_mismatch(provider: Provider) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "PNG")
    with pytest.raises(RejectedError) as caught:
        await provider.submit(asking_for(image=InputImage(out.getvalue(), "image/png")))
    assert caught.value.kind is ErrorKind.IMAGE_MISMATCH


async def test_slow_answer_is_waited_for_and_other_model_is_said(provider: Provider) -> None:
    slow, other = await asyncio.gather(submit(provider, "slow-answer"), submit(provider, "model-fallback"))
    assert slow.prediction_id
    assert other.model_returned == "seedance-2"
    assert "'seedance-2', not 'sora-2-pro'" in (other.warning or "")
    assert (await until_settled(provider, other)).model_returned == "seedance-2"


# --- polls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("policy-late", ErrorKind.CONTENT_POLICY, False),
        ("fail", ErrorKind.PROVIDER_INTERNAL, True),
        ("fail-once", ErrorKind.PROVIDER_INTERNAL, True),
        ("no-resource", ErrorKind.NO_RESOURCE, True),
        ("no-resource-once", ErrorKind.NO_RESOURCE, True),
        ("cancelled", ErrorKind.CANCELLED, False),
        ("late-wording", ErrorKind.PROVIDER_INTERNAL, False),
    ],
)
async def test_job_that_fails_means_the_same_in_every_format(
    provider: Provider, fault: str, kind: ErrorKind, retryable: bool
) -> None:
    prediction = await until_settled(provider, await submit(provider, fault))
    assert prediction.error is not None
    assert (prediction.error.kind, prediction.error.retryable) == (kind, retryable)
    if fault.endswith("-once"):
        await rendered(provider, fault)


async def test_status_words_are_understood_in_any_case_and_unknown_ones_run_on(
    provider: Provider, sandbox: Sandbox
) -> None:
    sandbox.change(render_s=1)
    loud, odd, stuck = [await submit(provider, fault) for fault in ("uppercase", "unknown-status", "stuck")]
    seen = await provider.poll(odd.prediction_id, odd.poll_url)
    assert seen.state is PredictionState.RUNNING
    assert "unknown status" in (seen.warning or "")
    done = await until_settled(provider, loud)
    assert (done.state, done.provider_status) == (PredictionState.SUCCEEDED, "COMPLETED")
    assert (await provider.poll(stuck.prediction_id, stuck.poll_url)).state is PredictionState.RUNNING


async def test_unknown_word_at_the_end_is_understood_by_what_came_with_it(provider: Provider) -> None:
    done = await until_settled(provider, await submit(provider, "odd-status"))
    assert (done.state, done.provider_status) == (PredictionState.SUCCEEDED, "wrapped_up")
    assert looks_like_mp4((await download(provider, done))[1])


async def test_answers_about_another_job_say_nothing_about_this_one(provider: Provider) -> None:
    accepted = await submit(provider, "foreign-id-once")
    for _ in range(2):
        with pytest.raises(TransientError) as caught:
            await provider.poll(accepted.prediction_id, accepted.poll_url)
        assert caught.value.kind is ErrorKind.OTHER_PREDICTION
    assert (await until_settled(provider, accepted)).state is PredictionState.SUCCEEDED


async def test_account_whose_server_errors_are_not_billed(sandbox: Sandbox) -> None:
    config = ProviderConfig(
        name="gptproto", base_url=sandbox.url, api_key=sandbox.endpoint.api_key, server_errors_unbilled=True
    )
    async with make_provider(config) as provider:
        for fault in ("error-500", "html-502"):
            with pytest.raises(TransientError):
                await submit(provider, fault)
    assert sandbox.billed == 0


async def test_failing_polls_say_nothing_about_the_job(provider: Provider) -> None:
    accepted = await submit(provider, "poll-errors")
    for _ in range(2):
        with pytest.raises(TransientError) as caught:
            await provider.poll(accepted.prediction_id, accepted.poll_url)
        assert caught.value.kind is ErrorKind.UNAVAILABLE
    # The third, a cut connection, is not seen: aiohttp repeats a GET once where a pooled connection turns out to be dead.
    assert (await until_settled(provider, accepted)).state is PredictionState.SUCCEEDED


async def test_poll_of_an_unknown_prediction_and_with_a_revoked_key(
    provider: Provider, sandbox: Sandbox
) -> None:
    accepted = await submit(provider)
    with pytest.raises(TransientError) as caught:
        await provider.poll("nothing", None)
    assert caught.value.kind is ErrorKind.EXPIRED
    sandbox.change(key_revoked=True)
    with pytest.raises(BlockedError):
        await provider.poll(accepted.prediction_id, accepted.poll_url)


# --- outputs -----------------------------------------------------------------------------------------------------------


async def test_completed_without_an_output(provider: Provider, wire: str) -> None:
    """Where the format names no URL, it is the content route that has nothing."""
    _, prediction = await rendered(provider, "empty-output")
    if wire == "openai-videos":
        assert (await download(provider, prediction))[0] == 403
    else:
        assert prediction.output_urls == ()


async def test_output_that_comes_with_a_later_poll(provider: Provider, wire: str) -> None:
    accepted, prediction = await rendered(provider, "empty-output-once")
    for _ in range(4):
        if prediction.output_urls and (await download(provider, prediction))[0] == 200:
            break
        prediction = await until_settled(provider, accepted)
    assert (await download(provider, prediction))[0] == 200


async def test_expired_output_is_fresh_after_another_poll(provider: Provider) -> None:
    accepted, prediction = await rendered(provider, "expired")
    assert (await download(provider, prediction))[0] == 410
    status, content = await download(provider, await until_settled(provider, accepted))
    assert (status, looks_like_mp4(content)) == (200, True)


async def test_late_file_is_not_found_and_then_is(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.change(late_file_s=60)
    _, prediction = await rendered(provider, "late-file")
    assert (await download(provider, prediction))[0] == 404
    sandbox.change(late_file_s=0)
    assert (await download(provider, prediction))[0] == 200


async def test_files_that_are_not_whole_or_not_videos(provider: Provider) -> None:
    whole, cut, other, broken = [
        (await rendered(provider, fault))[1] for fault in (None, "truncated", "wrong-type", "short-body")
    ]
    length = len((await download(provider, whole))[1])
    assert len((await download(provider, cut))[1]) == length // 2
    async with provider.open_output(other.output_urls[0]) as response:
        assert response.headers["content-type"] == "application/json"
    with pytest.raises(TransientError):
        await download(provider, broken)
    half = {"Range": f"bytes={length // 2}-"}
    async with provider.open_output(broken.output_urls[0], headers=half) as response:
        assert (response.status_code, len(await response.aread())) == (206, length - length // 2)
