import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sora_pipeline.provider.origins import absolute, origin, same_origin
from sora_pipeline.provider.prediction_ids import is_other_prediction
from sora_pipeline.provider.retry_after import parse_retry_after
from sora_pipeline.provider.wording import tidy

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3),
        (" 30 ", 30),
        ("0", 0),
        ("2.5", 2.5),
        ("86400000", 86_400_000),
        ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 11:59:30 GMT", None),
        ("Sunday, 22-Nov-26 12:00:30 GMT", 30),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("9" * 400, None),
        ("1e9", None),
        ("٣", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOW) == seconds


@settings(deadline=None)
@given(st.text())
def test_any_retry_after_is_harmless(value: str) -> None:
    seconds = parse_retry_after(value)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    "other",
    ["https://gptproto.com/x", "https://gptproto.com:443/x", "HTTPS://GPTPROTO.COM/x?y#z"],
)
def test_same_origin(other: str) -> None:
    assert same_origin(other, "https://gptproto.com")


@pytest.mark.parametrize(
    "other",
    [
        "http://gptproto.com/x",
        "https://api.gptproto.com/x",
        "https://gptproto.com:8443/x",
        "https://gptproto.com.evil.example/x",
        "https://gptproto.com@evil.example/x",
        "https://evil.example\\@gptproto.com/x",
        "https://key@gptproto.com/x",
        "//gptproto.com/x",
        "https:gptproto.com",
        "",
    ],
)
def test_other_origin(other: str) -> None:
    assert not same_origin(other, "https://gptproto.com")


@settings(deadline=None)
@given(st.text())
def test_any_text_is_harmless_as_a_url(text: str) -> None:
    origin(text)
    found = absolute("https://gptproto.com/", text)
    assert found is None or origin(found)


def test_text_from_outside_is_fit_for_logs_and_tables() -> None:
    assert tidy("a\n\tb\x00c \u2028d\ud800", secret="") == "a b c d?"
    assert tidy("cannot fetch https://me:pw@host/a.png?sig=hidden") == "cannot fetch https://host/a.png?***"
    assert tidy("Authorization: Bearer abcdef123") == "Authorization: Bearer [key]"
    assert len(tidy("x" * 1000)) == 500


def _wrapped(provider: str, model: str, video: str) -> str:
    inner = f"litellm:custom_llm_provider:{provider};model_id:{model};video_id:{video}"
    return "video_" + base64.b64encode(inner.encode()).decode()


@pytest.mark.parametrize(
    ("asked", "returned", "other"),
    [
        ("video_1", None, False),
        ("video_1", "video_1", False),
        ("video_1", "video_2", True),
        (_wrapped("openai", "sora-2", "video_1"), _wrapped("openai", "", "video_1"), False),
        (_wrapped("openai", "sora-2", "video_1"), _wrapped("openai", "", "video_2"), True),
        (
            _wrapped("gemini", "veo", "models/veo/operations/a;b"),
            _wrapped("gemini", "", "models/veo/operations/a;b"),
            False,
        ),
        (_wrapped("gemini", "veo", ""), _wrapped("openai", "", ""), True),
        ("video_AAAA", "video_AAAB", True),
        ("video_\ud800", "video_é", True),
    ],
)
def test_whose_prediction_an_answer_is_about(asked: str, returned: str | None, other: bool) -> None:
    assert is_other_prediction(asked, returned) is other


@given(st.text(), st.text())
def test_any_two_ids_are_compared(asked: str, returned: str) -> None:
    assert is_other_prediction(asked, returned) in (asked != returned, False)
