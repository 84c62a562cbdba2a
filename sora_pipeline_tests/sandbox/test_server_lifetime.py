import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sora_pipeline.sandbox.embedded import (
    SandboxStartError,
    ensure_sandbox,
    running_sandbox,
    stop_sandbox,
)
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.sandbox.conftest import QUICK, client_of


@pytest.fixture
def quick_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in QUICK.items():
        monkeypatch.setenv(f"SORA_SANDBOX_{name.upper()}", str(value))


def test_killed_server_knows_its_bill_and_finishes_its_renders(own_settings: SandboxSettings) -> None:
    with running_sandbox(own_settings) as endpoint:
        client = client_of(endpoint)
        done = client.accept("done")
        client.wait(done)
        client.change(render_s=1)
        once = "x [sandbox:rate-limit-once]"
        assert client.submit(once).status_code == 429
        pending = [client.accept(f"clip {number}") for number in range(3)]
        os.kill(endpoint.pid, signal.SIGKILL)
    with running_sandbox(own_settings) as endpoint:
        client = client_of(endpoint)
        assert client.bill()["accepted"] == 4
        for prediction in [done, *pending]:
            data = client.wait(prediction)
            assert httpx.get(data["outputs"][0]).status_code == 200
        assert client.submit(once).status_code == 200


def test_ensure_starts_one_for_many_callers_and_keeps_its_port(
    tmp_path: Path, quick_environment: None
) -> None:
    with ThreadPoolExecutor(6) as pool:
        endpoints = list(pool.map(lambda _: ensure_sandbox(tmp_path), range(6)))
    assert len({endpoint.pid for endpoint in endpoints}) == 1
    assert sum(endpoint.started for endpoint in endpoints) == 1
    assert stop_sandbox(tmp_path)
    assert not stop_sandbox(tmp_path)
    again = ensure_sandbox(tmp_path)
    assert (again.started, again.url) == (True, endpoints[0].url)
    stop_sandbox(tmp_path)


def test_ensure_replaces_a_killed_one_and_is_not_fooled_by_its_ready_file(
    tmp_path: Path, quick_environment: None
) -> None:
    first = ensure_sandbox(tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    second = ensure_sandbox(tmp_path)
    assert second.started
    assert second.instance != first.instance
    stop_sandbox(tmp_path)


def test_started_sandbox_outlives_the_process_that_started_it(
    tmp_path: Path, quick_environment: None
) -> None:
    code = f"from pathlib import Path; from sora_pipeline.sandbox.embedded import *; print(ensure_sandbox(Path({str(tmp_path)!r})).url)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not ensure_sandbox(tmp_path).started
    assert done.stdout.strip() == ensure_sandbox(tmp_path).url
    assert stop_sandbox(tmp_path)


def test_failed_start_names_the_log_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_SANDBOX_FPS", "many")
    with pytest.raises(SandboxStartError, match=r"sandbox\.log(.|\n)*SORA_SANDBOX_FPS: "):
        ensure_sandbox(tmp_path)


def test_idle_server_stops_by_itself_but_not_with_work_to_do(own_settings: SandboxSettings) -> None:
    settings = own_settings.model_copy(update={"exit_when_idle_s": 0.4, "render_s": 1.5})
    with running_sandbox(settings) as endpoint:
        client = client_of(endpoint)
        client.accept("work to do")
        client.accept("[sandbox:stuck]")
        time.sleep(1)
        assert client.http.get("/sandbox/health").status_code == 200
        address = httpx.URL(endpoint.url)
        deadline = time.monotonic() + 20
        while listens(address.host, address.port or 0):  # to ask for anything would keep it awake
            assert time.monotonic() < deadline
            time.sleep(0.1)


def listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=2).close()
    except ConnectionError:
        return False
    return True


def test_taken_port_is_an_error_unless_only_preferred(own_settings: SandboxSettings, tmp_path: Path) -> None:
    with running_sandbox(own_settings) as first:
        taken = own_settings.model_copy(
            update={"port": httpx.URL(first.url).port, "state_dir": tmp_path / "other"}
        )
        with pytest.raises(SandboxStartError, match="in use"), running_sandbox(taken):
            pass
        with running_sandbox(taken.model_copy(update={"prefer_port": True})) as second:
            assert second.url != first.url


def test_importing_the_embedded_sandbox_is_light() -> None:
    code = "import sys, json, sora_pipeline.sandbox.embedded; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"dagster", "av", "PIL", "numpy", "starlette", "uvicorn", "pydantic", "httpx"}
    assert not heavy & set(json.loads(done.stdout))


def test_settings_survive_the_environment() -> None:
    settings = SandboxSettings(
        port=8000,
        fault_rates={"policy": 0.5},
        balance_usd="1.50",
        api_key="k",
        shared_renders=True,
        outage="503",
    )  # type: ignore[arg-type]
    assert SandboxSettings.from_environment(settings.to_environment()) == settings


def test_thousand_requests_in_flight_are_answered(own_settings: SandboxSettings) -> None:
    settings = own_settings.model_copy(update={"shared_renders": True, "slow_answer_s": 1.5})

    async def storm(url: str) -> list[int]:
        limits = httpx.Limits(max_connections=2000)
        from httpx_aiohttp import AiohttpTransport

        async with httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": "Bearer sandbox"},
            timeout=30,
            transport=AiohttpTransport(limits=limits),
        ) as http:
            body = {"prompt": "[sandbox:slow-answer]"}
            submits = [http.post("/api/v3/openai/sora-2/text-to-video", json=body) for _ in range(1000)]
            return [answer.status_code for answer in await asyncio.gather(*submits)]

    with running_sandbox(settings) as endpoint:
        assert asyncio.run(storm(endpoint.url)) == [200] * 1000
        assert client_of(endpoint).bill()["accepted"] == 1000
