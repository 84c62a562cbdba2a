"""The sandbox's document against its routes, and its routes against the document."""

import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sora_pipeline.sandbox.app import routes
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.sandbox.conftest import Client
from sora_pipeline_tests.sandbox.openapi import document

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_every_route_is_written_down_and_nothing_else() -> None:
    emulator: Any = None
    real = {
        (method.lower(), route.path)
        for route in routes(emulator)
        for method in (route.methods or ()) - {"HEAD"}
    }
    written = {(method, path) for path, methods in document()["paths"].items() for method in methods}
    assert written == real


@pytest.fixture
def busy_sandbox(sandbox: Client) -> Client:
    """Takes a few jobs and then says 429: each is rendered, and the same few videos are enough for all."""
    sandbox.change(render_s=60, max_running=3)
    return sandbox


# What changes the server for all others is left to the tests below.
schema = schemathesis.openapi.from_dict(document()).exclude(method="PUT").exclude(path="/sandbox/reset")


@schema.parametrize()
@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_anything_is_answered_as_the_document_says(case: Any, busy_sandbox: Client) -> None:
    key = {"Authorization": f"Bearer {busy_sandbox.endpoint.api_key}"}
    case.call_and_validate(base_url=busy_sandbox.endpoint.url, headers=key, checks=CHECKS)


@pytest.mark.parametrize("flavour", ["openai", "gptproto"])
def test_real_jobs_are_answered_as_the_document_says(sandbox: Client, flavour: str) -> None:
    sandbox.change(openai_flavour=flavour)
    api = schemathesis.openapi.from_dict(document())
    key = {"Authorization": f"Bearer {sandbox.endpoint.api_key}"}

    def call(method: str, path: str, status: int = 200, **given: Any) -> Any:
        answer = (
            api[path][method]
            .Case(**given)
            .call_and_validate(base_url=sandbox.endpoint.url, headers=key, checks=CHECKS)
        )
        assert answer.status_code == status, answer.text
        return answer

    for fault in ("", "[sandbox:policy-late]"):
        native = sandbox.accept(f"a fox {fault}")
        unified = sandbox.http.post(
            "/api/v3/videos", json={"model": "openai/sora-2", "prompt": f"a fox {fault}"}
        )
        video = sandbox.http.post("/v1/videos", json={"prompt": f"a fox {fault}"}).json()["id"]
        sandbox.wait(native)
        while sandbox.http.get(f"/v1/videos/{video}").json()["status"] not in ("completed", "failed"):
            time.sleep(0.03)  # the last to be submitted is the last to end
        call(
            "GET",
            "/api/v3/predictions/{prediction_id}/result",
            path_parameters={"prediction_id": native},
        )
        for path in ("/api/v3/videos/{task_id}", "/api/v3/tasks/result/{task_id}"):
            call("GET", path, path_parameters={"task_id": unified.json()["id"]})
        call("GET", "/v1/videos/{video_id}", path_parameters={"video_id": video})
    of_a_video: dict[str, Any] = {"path_parameters": {"video_id": video}}
    call("GET", "/v1/videos/{video_id}/content", 404, **of_a_video)
    call("DELETE", "/v1/videos/{video_id}", **of_a_video)
    call("DELETE", "/v1/videos/{video_id}", 404, **of_a_video)
    call("GET", "/sandbox/bill")
    call("GET", "/v1/videos")


@pytest.mark.parametrize("flat", [False, True])
def test_errors_of_a_provider_in_trouble_are_as_the_document_says(sandbox: Client, flat: bool) -> None:
    api = schemathesis.openapi.from_dict(document())
    submits = [
        ("/api/v3/videos", {}, {"model": "openai/sora-2"}),
        ("/v1/videos", {}, {}),
        (
            "/api/v3/{vendor}/{model}/{scene}",
            {"vendor": "openai", "model": "sora-2", "scene": "text-to-video"},
            {},
        ),
    ]
    key = {"Authorization": f"Bearer {sandbox.endpoint.api_key}"}
    sandbox.change(flat_errors=flat)
    for path, parameters, fields in submits:
        for fault in (
            "policy",
            "bad-token",
            "no-balance",
            "model-gone",
            "rate-limit-once",
            "error-500",
            "html-502",
        ):
            case = api[path]["POST"].Case(
                path_parameters=parameters,
                body={**fields, "prompt": f"{path} [sandbox:{fault}]"},
                media_type="application/json",
            )
            answer = case.call_and_validate(base_url=sandbox.endpoint.url, headers=key, checks=CHECKS[1:])
            assert answer.status_code >= 400


@given(
    changes=st.dictionaries(
        st.sampled_from(list(SandboxSettings.model_fields)) | st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=8), inner, max_size=2)
            ),
            max_leaves=4,
        ),
        max_size=3,
    )
)
def test_settings_are_changed_or_refused_with_words(changes: dict[str, Any]) -> None:
    """What PUT /sandbox/settings does: whatever is no ValueError would be an HTTP 500."""
    before = SandboxSettings(state_dir=Path("unused"))
    try:
        after = before.changed(changes)
    except ValueError:
        return
    assert SandboxSettings.from_environment(after.to_environment()) == after
