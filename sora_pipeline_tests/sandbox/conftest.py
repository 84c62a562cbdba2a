import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sora_pipeline.sandbox.embedded import SandboxEndpoint
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import QUICK
from sora_pipeline_tests.conftest import Sandbox as RunningSandbox

FPS = int(QUICK["fps"])
FRAMES = 4 * FPS  # of the shortest clip


@dataclass
class Client:
    """A provider's client in a few lines, so that tests read as what a client sees."""

    http: httpx.Client
    endpoint: SandboxEndpoint

    def submit(self, prompt: str = "a fox", model: str = "sora-2-pro", **fields: Any) -> httpx.Response:
        scene = "image-to-video" if "image" in fields else "text-to-video"
        return self.http.post(f"/api/v3/openai/{model}/{scene}", json={"prompt": prompt, **fields})

    def accept(self, prompt: str = "a fox", **fields: Any) -> str:
        answer = self.submit(prompt, **fields)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["data"]["id"])

    def poll(self, prediction_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/api/v3/predictions/{prediction_id}/result")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def wait(self, prediction_id: str, timeout: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while (data := self.poll(prediction_id))["status"].lower() not in {
            "completed",
            "failed",
            "no_resource",
            "cancelled",
        }:
            assert time.monotonic() < deadline, data
            time.sleep(0.03)
        return data

    def video(self, prompt: str = "a fox", **fields: Any) -> bytes:
        url = self.wait(self.accept(prompt, **fields))["outputs"][0]
        return httpx.get(url).raise_for_status().content

    def change(self, **settings: Any) -> httpx.Response:
        return self.http.put("/sandbox/settings", json=settings)

    def bill(self) -> dict[str, Any]:
        return self.http.get("/sandbox/bill").json()


def client_of(endpoint: SandboxEndpoint) -> Client:
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    return Client(httpx.Client(base_url=endpoint.url, headers=headers, timeout=10, verify=False), endpoint)


@pytest.fixture
def sandbox(sandbox_server: RunningSandbox) -> Iterator[Client]:
    """The one server of all tests, empty and in good health for each."""
    client = client_of(sandbox_server.endpoint)
    client.http.post("/sandbox/reset").raise_for_status()
    before = client.change(render_s=0.3).json()
    yield client
    fresh = client_of(sandbox_server.endpoint).http  # connections may have been cut
    fresh.put("/sandbox/settings", json=before).raise_for_status()
    fresh.post("/sandbox/reset").raise_for_status()


@pytest.fixture
def own_settings(tmp_path: Path) -> SandboxSettings:
    return SandboxSettings(state_dir=tmp_path / "state", **QUICK)


@pytest.fixture
def picture() -> Callable[[int, int], bytes]:
    def draw(width: int, height: int) -> bytes:
        from PIL import Image

        image = Image.new("RGB", (width, height), (200, 30, 60))
        image.paste((20, 180, 90), (0, 0, width // 2, height // 2))
        out = io.BytesIO()
        image.save(out, "PNG")
        return out.getvalue()

    return draw
