"""A second provider account, beside the one that all tests have."""

from collections.abc import Iterator

import httpx
import pytest

from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import QUICK, Sandbox


@pytest.fixture(scope="session")
def second_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    settings = SandboxSettings(state_dir=tmp_path_factory.mktemp("second"), shared_renders=True, **QUICK)
    with running_sandbox(settings) as endpoint, httpx.Client(base_url=endpoint.url, trust_env=False) as http:
        yield Sandbox(endpoint, http)


@pytest.fixture
def second_sandbox(second_server: Sandbox) -> Iterator[Sandbox]:
    """A provider at another address, with an empty bill, that knows nothing of the first one's predictions."""
    yield second_server
    second_server.http.post("/sandbox/reset").raise_for_status()
