"""Our own formats against the kit that other providers' authors use, with the sandbox as the emulator."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest

from sora_pipeline.clip import Size
from sora_pipeline.provider import conformance
from sora_pipeline.provider.builtin import GPTPROTO, GPTPROTO_UNIFIED, OPENAI_VIDEOS, SANDBOX
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.provider.conformance import Emulator, ProviderConformance, Scenario
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    ErrorKind,
    GenerationFailedError,
    TransientError,
)
from sora_pipeline.provider.gptproto import GptProto
from sora_pipeline.provider.protocol import Accepted, Prediction, PredictionState, SubmitRequest
from sora_pipeline_tests.conftest import Sandbox

FAULTS = {
    Scenario.SLOW: "stuck",
    Scenario.LATE_OUTPUT: "empty-output-once",
    Scenario.LOST_ANSWER: "lost-answer",
    Scenario.RATE_LIMITED: "rate-limit-once",
    Scenario.UNAVAILABLE: "error-503-once",
    Scenario.POLICY: "policy",
    Scenario.BAD_KEY: "bad-token",
    Scenario.NO_BALANCE: "no-balance",
    Scenario.MODEL_GONE: "model-gone",
    Scenario.LATE_POLICY: "policy-late",
    Scenario.JOB_FAILED: "fail",
    Scenario.BUSY: "no-resource",
    Scenario.LATE_WORDING: "late-wording",
}


@dataclass
class SandboxEmulator:
    """The sandbox as the kit steers it: by markers in prompts."""

    sandbox: Sandbox
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        return self.sandbox.url

    @property
    def key(self) -> str:
        return self.sandbox.endpoint.api_key

    def play(self, scenario: Scenario) -> SubmitRequest:
        fault = FAULTS.get(scenario)
        marker = f" [sandbox:{fault}]" if fault else ""
        request = SubmitRequest(
            f"a fox, number {next(self._numbers)}{marker}", "sora-2-pro", 4, Size(1280, 720)
        )
        return replace(request, duration=5) if scenario is Scenario.INVALID else request

    def billed(self) -> int:
        return self.sandbox.billed

    def key_leaks(self) -> int:
        return int(self.sandbox.bill()["keys_leaked"])


class WithSandbox(ProviderConformance):
    flavour: ClassVar[str] = "openai"

    @pytest.fixture
    def emulator(self, sandbox: Sandbox) -> Emulator:  # type: ignore[override]
        sandbox.change(render_s=0.1, openai_flavour=self.flavour)
        return SandboxEmulator(sandbox)


class TestSandbox(WithSandbox):
    spec = SANDBOX


class TestGptProto(WithSandbox):
    spec = GPTPROTO


class TestGptProtoUnified(WithSandbox):
    spec = GPTPROTO_UNIFIED


class TestOpenAIVideos(WithSandbox):
    spec = OPENAI_VIDEOS


class TestOpenAIVideosOfGptProto(WithSandbox):
    spec = OPENAI_VIDEOS
    flavour = "gptproto"


# --- the kit finds what costs money ------------------------------------------------------------------------------------


class SendsTwice(GptProto):
    async def submit(self, request: SubmitRequest) -> Accepted:
        try:
            return await super().submit(request)
        except AmbiguousSubmitError:
            return await super().submit(replace(request, prompt=request.prompt.partition(" [")[0]))


class RetriesByItself(GptProto):
    async def submit(self, request: SubmitRequest) -> Accepted:
        try:
            return await super().submit(request)
        except TransientError:
            return await super().submit(request)


class TakesDoubtForRefusal(GptProto):
    async def submit(self, request: SubmitRequest) -> Accepted:
        try:
            return await super().submit(request)
        except AmbiguousSubmitError as error:
            raise TransientError(ErrorKind.UNAVAILABLE, error.message) from error


class GivesUpOnOnePoll(GptProto):
    async def poll(self, prediction_id: str, poll_url: str | None) -> Prediction:
        try:
            return await super().poll(prediction_id, poll_url)
        except TransientError as error:
            failed = GenerationFailedError(ErrorKind.PROVIDER_INTERNAL, error.message, retryable=True)
            return Prediction(prediction_id, PredictionState.FAILED, "", error=failed)


class BuysEveryFailureAgain(GptProto):
    def understood(self, prediction: Prediction) -> Prediction:
        if prediction.error is None:
            return prediction
        error = GenerationFailedError(prediction.error.kind, prediction.error.message, retryable=True)
        return replace(prediction, error=error)


class ShowsTheKey(GptProto):
    def __repr__(self) -> str:
        return f"<ShowsTheKey {self._secret}>"


@pytest.mark.parametrize(
    ("careless", "look"),
    [
        (SendsTwice, lambda kit, emulator: kit.test_lost_answer_is_ambiguous_and_sent_once(emulator)),
        (
            RetriesByItself,
            lambda kit, emulator: kit.test_refusal_for_now_is_transient_and_left_to_the_caller(
                emulator, Scenario.RATE_LIMITED, ErrorKind.RATE_LIMITED
            ),
        ),
        (
            TakesDoubtForRefusal,
            lambda kit, emulator: kit.test_submit_without_proof_of_refusal_is_ambiguous_and_sent_once(
                emulator, 502, ""
            ),
        ),
        (
            GivesUpOnOnePoll,
            lambda kit, _: kit.test_poll_that_goes_wrong_says_nothing_about_the_prediction(502, ""),
        ),
        (
            BuysEveryFailureAgain,
            lambda kit, emulator: kit.test_job_that_failed_says_whether_to_pay_again(
                emulator, Scenario.LATE_WORDING, ErrorKind.PROVIDER_INTERNAL, False
            ),
        ),
        (
            TakesDoubtForRefusal,
            lambda kit, emulator: kit.test_submit_without_proof_of_refusal_is_ambiguous_and_sent_once(
                emulator, 500, ""
            ),
        ),
        (ShowsTheKey, lambda kit, emulator: kit.test_key_that_a_server_repeats_is_not_shown(emulator)),
    ],
)
def test_kit_refuses_a_careless_provider(
    careless: type[GptProto],
    look: Callable[[ProviderConformance, Emulator], None],
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(conformance, "make_provider", lambda config: careless(config, load_catalogue()))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        look(TestGptProto(), SandboxEmulator(sandbox))


def test_scenario_that_can_happen_everywhere_cannot_be_left_out(sandbox: Sandbox) -> None:
    class Boastful(TestGptProto):
        lacks: ClassVar = {Scenario.LOST_ANSWER: "our network is perfect"}

    with pytest.raises(AssertionError, match="can happen at every provider"):
        Boastful().test_lost_answer_is_ambiguous_and_sent_once(SandboxEmulator(sandbox))
