"""Whatever a provider answers: nothing crashes, nothing is a success by accident, and no bill is overlooked."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sora_pipeline.clip import Size
from sora_pipeline.provider.answers import read_answer
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
from sora_pipeline.provider.http import RawAnswer
from sora_pipeline.provider.origins import origin, same_origin
from sora_pipeline.provider.protocol import PredictionState, SubmitRequest
from sora_pipeline.provider.registry import make_provider
from sora_pipeline.provider.statuses import meaning_of
from sora_pipeline.provider.wire import WireFormat
from sora_pipeline_tests.provider.any_json import ANSWERS, STATUSES

Result = TypeVar("Result")
KEY = "sk-secret-0123456789"
REQUEST = SubmitRequest("a cat that looks out of the window", "sora-2-pro", 4, Size(720, 1280))

every_format = pytest.mark.parametrize("name", ["gptproto", "gptproto-unified", "openai-videos"])
brief = settings(max_examples=60)  # for each format; a thousand found nothing more


@dataclass
class Saying:
    """Instead of HTTP: one answer to everything."""

    answer: RawAnswer

    async def submit(self, url: str, **_: Any) -> RawAnswer:
        return self.answer

    async def get(self, url: str) -> RawAnswer:
        return self.answer


def provider_that_gets(name: str, status: int, content: bytes) -> WireFormat:
    provider = make_provider(ProviderConfig(name=name, api_key=KEY))
    assert isinstance(provider, WireFormat)
    provider._http = Saying(RawAnswer(status, content, None))  # type: ignore[assignment]
    return provider


def at_once(coroutine: Coroutine[Any, Any, Result]) -> Result | ProviderError:
    """What a coroutine that never waits returns, or which of our errors it raises; any other is a crash."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: Result = stop.value
        return result
    except ProviderError as error:
        return error
    raise AssertionError("it waits")


def is_storable(text: str | None) -> bool:
    return text is None or (bool(text.encode()) and "\x00" not in text and KEY not in text)


@every_format
@brief
@given(content=ANSWERS, status=STATUSES)
def test_no_submit_is_accepted_by_accident_and_none_that_may_be_billed_is_sent_again(
    name: str, content: bytes, status: int
) -> None:
    answer = read_answer(content)
    accepted = at_once(provider_that_gets(name, status, content).submit(REQUEST))
    if isinstance(accepted, ProviderError):
        assert len(accepted.message) <= 500
        assert is_storable(accepted.message or None)
        assert isinstance(
            accepted, AmbiguousSubmitError | TransientError | RejectedError | ModelGoneError | BlockedError
        )
        # Within a 2xx only the body's own word for it says that nothing was bought.
        said = answer.refusal_code is not None
        assert said or not 200 <= status < 300 or isinstance(accepted, AmbiguousSubmitError)
        return
    assert 200 <= status < 300
    assert answer.is_json
    assert accepted.prediction_id == answer.prediction_id
    assert 0 < len(accepted.prediction_id) <= 512
    assert accepted.poll_url is None or same_origin(accepted.poll_url, "https://gptproto.com")
    assert all(map(is_storable, (accepted.prediction_id, accepted.model_returned, accepted.warning)))


@every_format
@brief
@given(content=ANSWERS, status=STATUSES)
def test_no_poll_is_a_success_by_accident(name: str, content: bytes, status: int) -> None:
    answer = read_answer(content).about("abc")
    prediction = at_once(provider_that_gets(name, status, content).poll("abc", None))
    if isinstance(prediction, ProviderError):
        assert isinstance(prediction, TransientError | BlockedError)
        assert is_storable(prediction.message or None)
        return
    assert prediction.prediction_id == "abc"
    assert (prediction.error is not None) == (prediction.state is PredictionState.FAILED)
    assert all(map(is_storable, (prediction.warning, prediction.model_returned)))
    if prediction.state is not PredictionState.SUCCEEDED:
        assert prediction.output_urls == ()
        return
    assert 200 <= status < 300
    assert answer.status is not None
    meaning = meaning_of(answer.status)
    assert meaning.state is PredictionState.SUCCEEDED or not meaning.known
    assert meaning.known or prediction.output_urls or answer.is_dated_completed
    assert answer.envelope_refusal_code is None
    assert not answer.prediction_ids or "abc" in answer.prediction_ids
    assert all(origin(url) is not None for url in prediction.output_urls)
    own = f"https://gptproto.com/v1/videos/{prediction.prediction_id}/content"
    assert name == "openai-videos" or own not in prediction.output_urls


@every_format
@brief
@given(content=ANSWERS, status=STATUSES)
def test_no_key_is_good_and_no_model_gone_by_accident(name: str, content: bytes, status: int) -> None:
    provider = provider_that_gets(name, status, content)
    check = at_once(provider.check_key())
    assert not isinstance(check, ProviderError)
    if check.accepted:
        assert 200 <= status < 300 or check.kind is ErrorKind.NO_BALANCE
    if check.accepted is False:
        assert check.kind in (ErrorKind.BAD_TOKEN, ErrorKind.ACCOUNT_SUSPENDED)
    exists = at_once(provider.model_exists("sora-2-pro"))
    assert exists is not True or 200 <= status < 300
    assert exists is not False or b"model" in content.lower()


@given(url=st.text(), host=st.sampled_from(["https://gptproto.com", "https://gptproto.com.evil.example", ""]))
def test_no_url_but_the_content_route_gets_the_key(url: str, host: str) -> None:
    provider = provider_that_gets("openai-videos", 200, b"")
    if provider.is_api_call(host + url):
        assert (host + url).startswith("https://gptproto.com/v1/videos/")
    assert not provider_that_gets("gptproto", 200, b"").is_api_call(host + url)
