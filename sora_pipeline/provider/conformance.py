"""What every provider must do, as tests that a provider's author runs against an emulator of their own.

Inherit ``ProviderConformance`` in a test module, name the spec, and fill in the fixture ``emulator``::

    class TestAcme(ProviderConformance):
        spec = ACME

        @pytest.fixture
        def emulator(self) -> Iterator[Emulator]:
            with AcmeEmulator() as emulator:
                yield emulator

Needs pytest and the provider's package installed. Nothing here leaves the machine: real HTTP, on loopback.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar, Protocol, TypeVar

import pytest
from pydantic import SecretStr

from sora_pipeline.provider.catalogue import load_catalogue
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
from sora_pipeline.provider.protocol import (
    Accepted,
    Prediction,
    PredictionState,
    Provider,
    SubmitRequest,
)
from sora_pipeline.provider.registry import find, make_provider
from sora_pipeline.provider.spec import ProviderSpec

T = TypeVar("T")


class Scenario(StrEnum):
    """What the emulator is to do with a request, and with the prediction that comes of it."""

    ACCEPTED = "accepted"  # taken and billed; rendered within seconds; its file is there
    SLOW = "slow"  # taken; still rendering for as long as a test looks
    LATE_OUTPUT = (
        "late-output"  # completed; the output's URL, or its file, comes some polls or a second later
    )
    LOST_ANSWER = "lost-answer"  # taken and billed; the connection is closed without an answer
    RATE_LIMITED = "rate-limited"  # the first submit is refused with "Retry-After: 1", the next one taken
    UNAVAILABLE = (
        "unavailable"  # the first submit is refused as in an outage, certainly not taken; the next one taken
    )
    POLICY = "policy"  # refused for what prompt or image show
    INVALID = "invalid"  # refused for a parameter
    BAD_KEY = "bad-key"  # refused as if the key were not accepted
    NO_BALANCE = "no-balance"  # refused as if there were no money
    MODEL_GONE = "model-gone"  # refused as if the model had been retired
    LATE_POLICY = "late-policy"  # taken; ends without a video, for what it would show
    JOB_FAILED = "job-failed"  # taken; ends without a video, for reasons of the provider
    BUSY = "busy"  # taken; ends without a video, because the provider was too busy
    LATE_WORDING = "late-wording"  # taken; ends without a video, for a reason in words that nobody foresaw


INDISPENSABLE = frozenset({Scenario.ACCEPTED, Scenario.SLOW, Scenario.LOST_ANSWER})


class Emulator(Protocol):
    """The provider as its author emulates it: real HTTP on loopback, in a thread or a process of its own."""

    @property
    def url(self) -> str:
        """The base URL."""
        ...

    @property
    def key(self) -> str:
        """The key it accepts."""
        ...

    def play(self, scenario: Scenario) -> SubmitRequest:
        """Prepare a scenario; a request that meets it. Two calls make two requests that do not disturb each other."""
        ...

    def billed(self) -> int:
        """How many submits it took, answered or not: what a provider would charge for."""
        ...

    def key_leaks(self) -> int:
        """How many requests for outputs carried the key, unless outputs are calls of the API that need it."""
        ...


REFUSALS: tuple[tuple[Scenario, type[ProviderError], ErrorKind], ...] = (
    (Scenario.POLICY, RejectedError, ErrorKind.CONTENT_POLICY),
    (Scenario.INVALID, RejectedError, ErrorKind.INVALID_REQUEST),
    (Scenario.BAD_KEY, BlockedError, ErrorKind.BAD_TOKEN),
    (Scenario.NO_BALANCE, BlockedError, ErrorKind.NO_BALANCE),
    (Scenario.MODEL_GONE, ModelGoneError, ErrorKind.MODEL_GONE),
)


class ProviderConformance:
    """The tests. Each says in its name what is promised; docs/providers.md says why.

    Attributes:
        spec: What the package registers.
        lacks: Scenarios that cannot happen at this provider, and why; those of ``INDISPENSABLE`` can everywhere.
        patience_s: Longest time for the emulator to render a clip.
    """

    spec: ClassVar[ProviderSpec]
    lacks: ClassVar[Mapping[Scenario, str]] = {}
    patience_s: ClassVar[float] = 30.0

    @pytest.fixture
    def emulator(self) -> Iterator[Emulator]:
        """A running emulator with an empty bill."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture named emulator")

    def config(self, url: str, key: str) -> ProviderConfig:
        """Address and key, and what else this provider should be tested with."""
        return ProviderConfig(name=self.spec.name, base_url=url, api_key=SecretStr(key))

    @pytest.fixture(autouse=True)
    def _no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_PROXY", "*")
        monkeypatch.setenv("no_proxy", "*")

    # --- the package ---------------------------------------------------------------------------------------------------

    def test_spec_is_what_is_registered_under_its_name(self) -> None:
        """``SORA_PROVIDER`` finds it."""
        assert find(self.spec.name) == self.spec

    def test_some_model_of_the_catalogue_is_reached(self) -> None:
        """Without one, no manifest has a valid row."""
        catalogue = load_catalogue()
        assert self.spec.name not in catalogue.problems, catalogue.problems[self.spec.name]
        formats = [catalogue.model(name).formats for name in catalogue.names]
        assert any(self.spec.name in names for names in formats), (
            f"no model of the catalogue names {self.spec.name}"
        )

    # --- all is well ---------------------------------------------------------------------------------------------------

    def test_accepted_clip_is_billed_once_and_fetched(self, emulator: Emulator) -> None:
        """Submit, poll until it is there, fetch."""

        async def whole(provider: Provider) -> bytes:
            accepted = await provider.submit(self._play(emulator, Scenario.ACCEPTED))
            assert accepted.prediction_id
            prediction = await self._until_settled(provider, accepted)
            assert prediction.state is PredictionState.SUCCEEDED, prediction
            assert prediction.error is None
            return await self._fetched(provider, accepted)

        assert self._run(emulator, whole), "the output is empty"
        assert emulator.billed() == 1

    def test_prediction_is_found_by_its_id_alone(self, emulator: Emulator) -> None:
        """A ledger that was made anew knows ids, and no poll URLs."""

        async def by_id(provider: Provider) -> None:
            accepted = await provider.submit(self._play(emulator, Scenario.ACCEPTED))
            prediction = await provider.poll(accepted.prediction_id, None)
            assert prediction.prediction_id == accepted.prediction_id

        self._run(emulator, by_id)

    def test_submits_at_the_same_time_are_told_apart(self, emulator: Emulator) -> None:
        """One provider object serves all clips of a run."""

        async def together(provider: Provider) -> None:
            requests = [self._play(emulator, Scenario.ACCEPTED) for _ in range(5)]
            accepted = await asyncio.gather(*(provider.submit(request) for request in requests))
            assert len({prediction.prediction_id for prediction in accepted}) == len(requests)

        self._run(emulator, together)
        assert emulator.billed() == 5

    def test_clip_that_renders_is_neither_finished_nor_failed(self, emulator: Emulator) -> None:
        """Giving it up would lose a paid clip."""

        async def looked_at(provider: Provider) -> None:
            accepted = await provider.submit(self._play(emulator, Scenario.SLOW))
            for _ in range(3):
                prediction = await provider.poll(accepted.prediction_id, accepted.poll_url)
                assert prediction.state in (PredictionState.WAITING, PredictionState.RUNNING), prediction
                assert prediction.output_urls == ()

        self._run(emulator, looked_at)

    def test_late_output_is_fetched_after_further_polls(self, emulator: Emulator) -> None:
        """It is rendered and billed: patience costs nothing."""

        async def later(provider: Provider) -> bytes:
            accepted = await provider.submit(self._play(emulator, Scenario.LATE_OUTPUT))
            return await self._fetched(provider, accepted)

        assert self._run(emulator, later)
        assert emulator.billed() == 1

    # --- submits that are not accepted ---------------------------------------------------------------------------------

    def test_lost_answer_is_ambiguous_and_sent_once(self, emulator: Emulator) -> None:
        """It may have been billed: sending it again may pay twice, and calling it refused may lose a paid clip."""

        async def lost(provider: Provider) -> None:
            with pytest.raises(AmbiguousSubmitError):
                await provider.submit(self._play(emulator, Scenario.LOST_ANSWER))

        self._run(emulator, lost)
        assert emulator.billed() == 1

    @pytest.mark.parametrize(
        ("scenario", "kind"),
        [
            (Scenario.RATE_LIMITED, ErrorKind.RATE_LIMITED),
            (Scenario.UNAVAILABLE, ErrorKind.UNAVAILABLE),
        ],
        ids=str,
    )
    def test_refusal_for_now_is_transient_and_left_to_the_caller(
        self, emulator: Emulator, scenario: Scenario, kind: ErrorKind
    ) -> None:
        """``submit`` sends once: whether and when to try again is decided for all clips together."""

        async def again(provider: Provider) -> None:
            request = self._play(emulator, scenario)
            with pytest.raises(TransientError) as refused:
                await provider.submit(request)
            assert refused.value.kind is kind
            if scenario is Scenario.RATE_LIMITED:
                assert refused.value.retry_after_s == 1
            assert emulator.billed() == 0
            await provider.submit(request)

        self._run(emulator, again)
        assert emulator.billed() == 1

    @pytest.mark.parametrize(("scenario", "error", "kind"), REFUSALS, ids=str)
    def test_refusal_says_whether_it_is_about_this_clip_a_model_or_the_account(
        self, emulator: Emulator, scenario: Scenario, error: type[ProviderError], kind: ErrorKind
    ) -> None:
        """Taken for the other, one bad prompt or one retired model stops an account, or a bad key fails every clip."""

        async def refused(provider: Provider) -> None:
            with pytest.raises(error) as caught:
                await provider.submit(self._play(emulator, scenario))
            assert caught.value.kind is kind

        self._run(emulator, refused)
        assert emulator.billed() == 0

    # --- jobs that end without a video ---------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("scenario", "kind", "retryable"),
        [
            (Scenario.LATE_POLICY, ErrorKind.CONTENT_POLICY, False),
            (Scenario.JOB_FAILED, ErrorKind.PROVIDER_INTERNAL, True),
            (Scenario.BUSY, ErrorKind.NO_RESOURCE, True),
            (Scenario.LATE_WORDING, ErrorKind.PROVIDER_INTERNAL, False),
        ],
        ids=str,
    )
    def test_job_that_failed_says_whether_to_pay_again(
        self, emulator: Emulator, scenario: Scenario, kind: ErrorKind, retryable: bool
    ) -> None:
        """What is retryable is bought again: only causes that are known to pass are."""

        async def failed(provider: Provider) -> Prediction:
            accepted = await provider.submit(self._play(emulator, scenario))
            return await self._until_settled(provider, accepted)

        prediction = self._run(emulator, failed)
        assert prediction.state is PredictionState.FAILED
        assert prediction.error is not None
        assert (prediction.error.kind, prediction.error.retryable) == (kind, retryable)

    # --- the key -------------------------------------------------------------------------------------------------------

    def test_key_goes_to_no_output(self, emulator: Emulator) -> None:
        """An output's address is a link that anybody may follow."""

        async def fetched(provider: Provider) -> None:
            accepted = await provider.submit(self._play(emulator, Scenario.ACCEPTED))
            await self._fetched(provider, accepted)

        self._run(emulator, fetched)
        assert emulator.key_leaks() == 0

    def test_key_and_model_are_asked_for_without_a_bill(self, emulator: Emulator) -> None:
        """``sora-pipeline doctor`` asks; None means that the provider does not say."""

        async def question(provider: Provider) -> None:
            assert (await provider.check_key()).accepted is not False
            assert await provider.model_exists(self._play(emulator, Scenario.ACCEPTED).model) is not False

        async def question_with_another_key(provider: Provider) -> None:
            check = await provider.check_key()
            assert check.accepted is not True
            assert "another-key" not in check.message

        self._run(emulator, question)
        self._at(emulator.url, "another-key-0123456789", question_with_another_key)
        assert emulator.billed() == 0

    def test_key_that_a_server_repeats_is_not_shown(self, emulator: Emulator) -> None:
        """Errors go into logs, tables and messages to people."""
        words = {"error": {"message": f"the key {KEY} is not known", "code": 401}}

        async def shown(provider: Provider) -> str:
            return repr(provider) + (await provider.check_key()).message

        with Stranger(401, words) as stranger:
            error = self._submit_error(stranger, emulator)
            assert KEY not in self._at(stranger.url, KEY, shown)
        assert isinstance(error, ProviderError)
        assert KEY not in str(error) + repr(error)

    def test_key_does_not_follow_a_redirect(self, emulator: Emulator) -> None:
        """Neither a submit's nor a poll's."""
        with (
            Stranger(200, {}) as other,
            Stranger(307, {}, {"Location": f"{other.url}/elsewhere"}) as stranger,
        ):
            assert isinstance(self._submit_error(stranger, emulator), ProviderError)
            self._poll_error(stranger)
        assert not [request for request in other.received if KEY in request]

    # --- servers that are not the provider -----------------------------------------------------------------------------

    def test_submit_that_reaches_nobody_is_transient(self, emulator: Emulator) -> None:
        """Nothing was sent, so nothing was billed."""
        with Stranger(200, {}) as stranger:
            pass  # its port is closed now
        error = self._submit_error(stranger, emulator)
        assert isinstance(error, TransientError)
        assert error.kind is ErrorKind.CONNECT

    @pytest.mark.parametrize(
        ("status", "answer"),
        [
            (None, ""),
            (500, ""),
            (500, '{"error": {"message": "Internal server error", "code": 500}}'),
            (502, "<html>bad gateway</html>"),
            (504, ""),
            (200, "<html>welcome</html>"),
            (200, "{}"),
            (200, '{"half": '),
        ],
    )
    def test_submit_without_proof_of_refusal_is_ambiguous_and_sent_once(
        self, emulator: Emulator, status: int | None, answer: str
    ) -> None:
        """Doubt counts as paid."""
        with Stranger(status, answer) as stranger:
            error = self._submit_error(stranger, emulator)
        assert isinstance(error, AmbiguousSubmitError), error
        assert sum(request.startswith("POST") for request in stranger.received) == 1

    @pytest.mark.parametrize(
        ("status", "answer"),
        [
            (None, ""),
            (500, ""),
            (502, "<html>bad gateway</html>"),
            (429, "{}"),
            (404, "{}"),
            (200, "<html>welcome</html>"),
            (200, "{}"),
        ],
    )
    def test_poll_that_goes_wrong_says_nothing_about_the_prediction(
        self, status: int | None, answer: str
    ) -> None:
        """One failed request must not end a job that is paid for."""
        with Stranger(status, answer) as stranger:
            error = self._poll_error(stranger)
        assert isinstance(error, TransientError), error

    @pytest.mark.parametrize(("status", "answer"), [(None, ""), (500, ""), (200, "<html>welcome</html>")])
    def test_questions_raise_nothing(self, emulator: Emulator, status: int | None, answer: str) -> None:
        """``doctor`` makes sentences of them."""
        model = self._play(emulator, Scenario.ACCEPTED).model

        async def question(provider: Provider) -> None:
            assert (await provider.check_key()).accepted is not True
            assert await provider.model_exists(model) is not True

        with Stranger(status, answer) as stranger:
            self._at(stranger.url, KEY, question)

    # --- what the tests are made of ------------------------------------------------------------------------------------

    def _play(self, emulator: Emulator, scenario: Scenario) -> SubmitRequest:
        if scenario in self.lacks:
            assert scenario not in INDISPENSABLE, f"{scenario} can happen at every provider"
            pytest.skip(self.lacks[scenario])
        return emulator.play(scenario)

    def _run(self, emulator: Emulator, use: Callable[[Provider], Awaitable[T]]) -> T:
        return self._at(emulator.url, emulator.key, use)

    def _at(self, url: str, key: str, use: Callable[[Provider], Awaitable[T]]) -> T:
        async def opened() -> T:
            async with make_provider(self.config(url, key)) as provider:
                return await use(provider)

        return asyncio.run(opened())

    async def _until_settled(self, provider: Provider, accepted: Accepted) -> Prediction:
        deadline = time.monotonic() + self.patience_s
        while True:
            prediction = await provider.poll(accepted.prediction_id, accepted.poll_url)
            if prediction.state in (PredictionState.SUCCEEDED, PredictionState.FAILED):
                return prediction
            assert time.monotonic() < deadline, f"not finished after {self.patience_s:g} s: {prediction}"
            await asyncio.sleep(0.05)

    async def _fetched(self, provider: Provider, accepted: Accepted) -> bytes:
        """The output, as soon as there is one."""
        deadline = time.monotonic() + self.patience_s
        while True:
            prediction = await self._until_settled(provider, accepted)
            for url in prediction.output_urls:
                async with provider.open_output(url) as response:
                    if response.status_code == 200:
                        return await response.aread()
            assert time.monotonic() < deadline, f"no output after {self.patience_s:g} s: {prediction}"
            await asyncio.sleep(0.1)

    def _submit_error(self, stranger: "Stranger", emulator: Emulator) -> Exception | None:
        request = self._play(emulator, Scenario.ACCEPTED)
        return self._at(stranger.url, KEY, lambda provider: _error_of(provider.submit(request)))

    def _poll_error(self, stranger: "Stranger") -> Exception | None:
        return self._at(stranger.url, KEY, lambda provider: _error_of(provider.poll("prediction-1", None)))


KEY = "key-that-nobody-may-see-0123456789"
"""What strangers are sent as the key."""


@dataclass
class Stranger:
    """A server that is not the provider: one answer to every request.

    Attributes:
        status: HTTP status; None: the connection is closed without an answer, once the request has been read.
        answer: The body; what is no text goes out as JSON.
        headers: More headers of the answer.
        received: Each request: method, path and headers as text.
    """

    status: int | None
    answer: object
    headers: Mapping[str, str] = field(default_factory=dict)
    received: list[str] = field(default_factory=list)
    url: str = ""

    def __enter__(self) -> "Stranger":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(stranger: Stranger) -> type[BaseHTTPRequestHandler]:
    import json

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            stranger.received.append(f"{self.command} {self.path}\n{self.headers}")
            self.close_connection = True
            if stranger.status is None:
                return
            text = stranger.answer if isinstance(stranger.answer, str) else json.dumps(stranger.answer)
            self.send_response(stranger.status)
            for name, value in stranger.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "text/html" if text.startswith("<") else "application/json")
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(text.encode())

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *_: object) -> None:
            pass

    return Handler


async def _error_of(call: Awaitable[object]) -> Exception | None:
    try:
        await call
    except Exception as error:  # what it is, is the test's to judge
        return error
    return None
