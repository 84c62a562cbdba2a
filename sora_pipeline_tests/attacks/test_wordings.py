"""Words that providers fail in: whatever they are, nothing is bought again by itself but what is known to pass."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sora_pipeline.provider.answers import read_answer
from sora_pipeline.provider.errors import ErrorKind, GenerationFailedError
from sora_pipeline.provider.failures import classify_job_failure
from sora_pipeline.provider.statuses import meaning_of
from sora_pipeline_tests.provider.any_json import JSON

ROOM = Path(__file__).parent
WORDINGS: dict[str, list[dict[str, Any]]] = tomllib.loads((ROOM / "wordings.toml").read_text("utf-8"))
LISTED = tomllib.loads(
    (Path(read_answer.__code__.co_filename).parent / "failure_words.toml").read_text("utf-8")
)


def wordings(kind: str) -> list[str]:
    return [words for entry in WORDINGS[kind] for words in entry["words"]]


NOT_LISTED = [words for kind in WORDINGS if kind not in ("passes", "no_cause") for words in wordings(kind)]


def shapes(words: str) -> Iterator[dict[str, Any]]:
    """The places in which formats say it, some beside codes that would pass by themselves."""
    yield {"data": {"status": "failed", "error": words}, "code": 200, "message": "success"}
    yield {"status": "failed", "native_status": "failed", "error": words}
    yield {"id": "video_1", "object": "video", "status": "failed", "error": {"code": None, "message": words}}
    yield {"status": "failed", "error": {"code": "internal_error", "message": words}}
    yield {"status": "failed", "error": {"code": 500, "type": "server_error", "message": words}}
    yield {"status": "no_resource", "error": words}
    yield {"status": "timeout", "fail_reason": words}
    yield {"status": "failed", "error": {"message": "Internal error", "details": [{"reason": words}]}}
    yield {"status": "failed", "error": "Internal error", "failure_reason": words}
    yield {"status": "failed", "error": "Internal error", "rejectReason": words}
    yield {"data": {"status": "failed", "error": "server is busy", "moderation": {"result": [words]}}}


def failure(body: dict[str, Any]) -> GenerationFailedError:
    answer = read_answer(json.dumps(body).encode())
    return classify_job_failure(answer, meaning_of(answer.status or "failed"))


@pytest.mark.parametrize("words", NOT_LISTED)
def test_no_wording_that_is_not_on_the_list_is_bought_again(words: str) -> None:
    for body in shapes(words):
        assert not failure(body).retryable, body


@pytest.mark.parametrize("words", wordings("no_cause"))
def test_what_names_no_cause_is_not_bought_again(words: str) -> None:
    assert not failure(next(shapes(words))).retryable


@pytest.mark.parametrize("words", wordings("passes"))
def test_cause_that_is_known_to_pass_is_bought_again(words: str) -> None:
    assert failure(next(shapes(words))).retryable


@pytest.mark.parametrize("words", wordings("passes"))
def test_cause_that_passes_is_not_bought_again_where_a_word_more_is_said(words: str) -> None:
    for more in (f"{words} because of your prompt", f"not {words}", f"{words}: flagged", f"prompt: {words}"):
        for body in shapes(more):
            assert not failure(body).retryable, body


@pytest.mark.parametrize(
    ("kind", "share"), [("content_policy", 0.95), ("no_balance", 1.0), ("invalid_request", 1.0)]
)
def test_share_of_wordings_that_are_called_what_they_are(kind: str, share: float) -> None:
    known = [words for words in wordings(kind) if failure(next(shapes(words))).kind == kind]
    missed = sorted(set(wordings(kind)) - set(known))
    assert len(known) >= share * len(wordings(kind)), missed


def test_vocabulary_says_where_it_has_each_entry_from() -> None:
    for kind, entries in LISTED.items():
        for entry in entries:
            assert len(entry["source"]) > 10, kind
            assert entry.keys() & {"codes", "words", "patterns", "sentences"}, entry["source"]
    listed = {
        text for entry in LISTED["passing"] for text in (*entry.get("sentences", ()), *entry.get("codes", ()))
    }
    assert not listed & set(NOT_LISTED)


@settings(max_examples=500)
@given(st.text(min_size=1))
def test_random_words_are_never_bought_again(words: str) -> None:
    assert not failure({"status": "failed", "error": words}).retryable
    body = {"status": "failed", "error": {"code": "internal_error", "message": f"{words} x"}}
    assert not failure(body).retryable


@settings(max_examples=300)
@given(error=JSON, status=st.sampled_from(["failed", "error", "FAILURE", "rejected", "blocked", "cancelled"]))
def test_random_errors_are_bought_again_only_in_listed_words(error: Any, status: str) -> None:
    found = failure({"status": status, "error": error})
    # None of the words that are drawn from is on the list, but these two.
    if not any(word in json.dumps(error) for word in ("no_resource", "503")):
        assert not found.retryable, error


@pytest.mark.parametrize(
    "prompt", ["server is busy", "internal error", "no resource, please try again later"]
)
def test_echo_of_a_prompt_made_of_listed_words_is_not_bought_again(prompt: str) -> None:
    for words in (
        f"we could not film {prompt!r}",
        f"{prompt}: this cannot be filmed",
        f'internal error while filming "{prompt}"',
    ):
        for body in shapes(words):
            assert not failure({**body, "prompt": prompt}).retryable, body


@pytest.mark.parametrize("flag", ["moderated", "is_flagged", "blocked", "content_violation"])
def test_flag_beside_a_cause_that_passes_is_a_word_more(flag: str) -> None:
    body = {"status": "failed", "error": {"code": "internal_error", "message": "Internal error"}}
    assert failure({**body, flag: False}).retryable
    assert not failure({**body, flag: True}).retryable
    assert failure({**body, "retry_count": 0, "progress": 0, "prompt": "a fox", "model": "sora-2"}).retryable


def test_words_that_are_hidden_deep_or_far_behind_are_words_more() -> None:
    hidden: Any = "the prompt was not to our taste"
    for _ in range(10):
        hidden = {"reason": [hidden]}
    far = "Internal error. " * 500 + "The prompt was not to our taste"
    for error in ({"message": "Internal error", "cause": hidden}, far, ["Internal error", hidden]):
        assert not failure({"status": "failed", "error": error}).retryable


def test_kinds_of_accounts_and_models_are_no_reason_to_pay_again() -> None:
    for words in ("Insufficient balance", "model sora-2 has been retired", "Invalid token"):
        assert not failure({"status": "failed", "error": words}).retryable
    assert failure({"status": "failed", "error": "Insufficient balance"}).kind is ErrorKind.NO_BALANCE
