"""LiteLLM's own proxy, in an environment of its own, between the pipeline and the sandbox.

Needs the package registry, unless ``LITELLM_VENV`` names an environment that has ``litellm[proxy]``; fails without either.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pandas as pd
import pytest
from PIL import Image

from sora_pipeline.clip import Size
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
from sora_pipeline.provider.protocol import Provider, SubmitRequest
from sora_pipeline.provider.registry import make_provider
from sora_pipeline_tests.conftest import Sandbox

REQUIREMENT = "litellm[proxy]==1.106.2"
KEY = "sk-the-master-key"
MODELS = ("sora-2", "sora-2-pro")
K = ErrorKind

START_S = 300.0
"""How long the proxy, which imports thousands of modules, may take to come up beside other tests."""

pytestmark = [pytest.mark.services, pytest.mark.timeout(START_S + 600)]


@pytest.fixture(scope="session")
def litellm_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the ``litellm`` command."""
    if given := os.environ.get("LITELLM_VENV"):
        return Path(given) / "bin"
    venv = tmp_path_factory.mktemp("litellm") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    python = venv / "bin" / "python"
    # With bytecode, which uv leaves to the first start: that of the proxy, which then takes minutes.
    with_uv = [uv, "pip", "install", "--compile-bytecode", "--python", python]
    pip = with_uv if uv else [python, "-m", "pip", "install"]
    done = subprocess.run([*pip, "-q", REQUIREMENT], capture_output=True, text=True)
    assert done.returncode == 0, f"{REQUIREMENT} cannot be installed: {done.stderr[-2000:]}"
    return venv / "bin"


@pytest.fixture(scope="session")
def proxy(
    litellm_bin: Path, sandbox_server: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The proxy's address."""
    folder = tmp_path_factory.mktemp("proxy")
    upstream = {"api_base": f"{sandbox_server.url}/v1", "api_key": sandbox_server.endpoint.api_key}
    config = {  # JSON is YAML
        "model_list": [
            {"model_name": name, "litellm_params": {"model": f"openai/{name}", **upstream}} for name in MODELS
        ],
        # Without, LiteLLM sends a submit up to three times, and each may be billed.
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "general_settings": {"master_key": KEY},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("LITELLM_", "DATABASE_", "OPENAI_"))
    }
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it downloads a price list first
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [litellm_bin / "litellm", "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log, stderr=log, env=environment, cwd=folder,
        )  # fmt: skip
    try:
        until = time.monotonic() + START_S
        while not _alive(url):
            ended = server.poll() is not None or time.monotonic() > until
            assert not ended, (folder / "log").read_text()[-3000:]
            time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/liveliness", trust_env=False, timeout=2).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("postgres_url", ["sqlite"], indirect=True)
def test_a_production_through_the_proxy(
    home: Path, tmp_path: Path, proxy: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (720, 1280), "red").save(tmp_path / "tall.png")
    Image.new("RGB", (1280, 720), "green").save(tmp_path / "wide.jpg")
    manifest = tmp_path / "three.csv"
    manifest.write_text(
        "clip_id,prompt,image,duration,size,model\n"
        "text,a paper boat,,4,720x1280,sora-2\n"
        "tall,a red wall,tall.png,4,720x1280,sora-2-pro\n"
        "wide,grass in the wind,wide.jpg,4,1280x720,sora-2\n"
    )
    monkeypatch.setenv("SORA_PROVIDER", "openai-videos")
    monkeypatch.setenv("SORA_BASE_URL", f"{proxy}/v1")
    monkeypatch.setenv("SORA_API_KEY", KEY)
    assert "3 clips are fine" in cli("check", str(manifest), cwd=tmp_path)
    assert "3 of 3 clips delivered" in cli("run", str(manifest), "--budget", "5", cwd=tmp_path)
    clips = pd.read_parquet(tmp_path / "out" / "three" / "metadata.parquet").set_index("clip_id")
    assert set(clips["status"]) == {"delivered"}
    assert (clips.at["wide", "width"], clips.at["wide", "height"]) == (1280, 720)
    bought = {item["prompt"]: item["image_sha256"] is not None for item in sandbox.bill()["items"]}
    assert bought == {"a paper boat": False, "a red wall": True, "grass in the wind": True}
    assert sandbox.billed == 3
    assert "the answer is about" not in (home / "logs" / "daemon.log").read_text()


def cli(*arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sora_pipeline", *arguments], capture_output=True, text=True, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("words", "error", "kind"),
    [
        ("[sandbox:policy]", RejectedError, K.CONTENT_POLICY),
        ("[sandbox:bad-token]", BlockedError, K.BAD_TOKEN),
        ("[sandbox:no-balance]", BlockedError, K.NO_BALANCE),
        ("[sandbox:model-gone]", ModelGoneError, K.MODEL_GONE),
        ("[sandbox:rate-limit-once]", TransientError, K.RATE_LIMITED),
        ("[sandbox:error-500]", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
        ("[sandbox:html-502]", AmbiguousSubmitError, K.AMBIGUOUS_SUBMIT),
    ],
)
async def test_what_the_upstream_refuses_is_understood_behind_the_proxy(
    proxy: str, sandbox: Sandbox, words: str, error: type[ProviderError], kind: ErrorKind
) -> None:
    async with provider_at(proxy) as provider:
        with pytest.raises(error) as refusal:
            await provider.submit(asking(f"a fox {words}"))
    assert refusal.value.kind is kind
    assert sandbox.billed == 0


@pytest.mark.anyio
async def test_an_answer_that_is_lost_behind_the_proxy_may_have_been_billed(
    proxy: str, sandbox: Sandbox
) -> None:
    async with provider_at(proxy) as provider:
        with pytest.raises(AmbiguousSubmitError):
            await provider.submit(asking("a fox [sandbox:lost-answer]"))
    assert sandbox.billed == 1


@pytest.mark.anyio
async def test_a_wrong_key_blocks_everything_and_an_unknown_model_its_own_clips(
    proxy: str, sandbox: Sandbox
) -> None:
    async with provider_at(proxy, key="sk-not-the-key") as provider:
        with pytest.raises(BlockedError) as wrong_key:
            await provider.submit(asking("a fox"))
        check = await provider.check_key()
    async with provider_at(proxy) as provider:
        with pytest.raises(ModelGoneError) as unknown:
            await provider.submit(asking("a fox", model="no-such-model"))
        exist = [await provider.model_exists(name) for name in ("sora-2", "no-such-model")]
    assert (wrong_key.value.kind, unknown.value.kind) == (K.BAD_TOKEN, K.MODEL_GONE)
    assert check.accepted is False
    assert exist == [True, False]
    assert sandbox.billed == 0


def provider_at(proxy: str, key: str = KEY) -> Provider:
    return make_provider(ProviderConfig(name="openai-videos", base_url=proxy, api_key=key))


def asking(prompt: str, model: str = "sora-2") -> SubmitRequest:
    return SubmitRequest(prompt, model, 4, Size(720, 1280), None)
