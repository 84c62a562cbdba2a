"""``uvx sora-pipeline demo``: from the wheel alone, in an empty folder, and for nothing."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sora_pipeline_tests.docs.blocks import ROOT

pytestmark = pytest.mark.timeout(900)
UV = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def paid_provider() -> Iterator[tuple[str, list[str]]]:
    """A provider that would bill whoever asks it, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.send_error(500)

        do_GET = do_POST

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def test_demo_works_from_the_wheel_alone_and_asks_nobody_else(
    wheel: Path, tmp_path: Path, paid_provider: tuple[str, list[str]]
) -> None:
    address, asked = paid_provider
    (empty := tmp_path / "empty").mkdir()
    # The versions of the lock: what is newest elsewhere today is not this package's doing.
    locked = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line]
    (tmp_path / "locked.txt").write_text("\n".join(line.removesuffix("\\") for line in locked))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "LANG", "TMPDIR", "UV_CACHE_DIR")
    }
    kept |= {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))}
    environment = {
        **kept,
        "HOME": os.environ.get("HOME", str(tmp_path)),
        "SORA_PROVIDER": "gptproto",
        "SORA_API_KEY": "sk-of-somebody",
        "GPTPROTO_API_KEY": "sk-of-somebody",
        "SORA_BASE_URL": address,
        "SORA_LEDGER_URL": f"sqlite:///{tmp_path}/ledger-of-somebody.db",
        "SORA_NOTIFY_URL": f"{address}/hook",
        "SORA_OUTPUT": str(tmp_path / "output-of-somebody"),
        "DAGSTER_HOME": str(tmp_path / "home-of-somebody"),
        "SORA_SANDBOX_RENDER_S": "0.4",
        "SORA_SANDBOX_FPS": "6",
    }
    assert UV is not None
    uvx = [
        UV,
        "tool",
        "run",
        "--isolated",
        "--python",
        sys.executable,
        "--constraints",
        str(tmp_path / "locked.txt"),
    ]
    command = [*uvx, "--from", str(wheel), "sora-pipeline", "demo"]
    ended = subprocess.run(
        [*command, "--json"], cwd=empty, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = json.loads(ended.stdout)
    assert said["counts"] == {"delivered": 8}
    assert said["simulated"] is True
    assert len(list((empty / "sora-demo" / "output").rglob("*.mp4"))) == 8
    assert (empty / "sora-demo" / "output" / "manifest" / "gallery.html").is_file()
    assert asked == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "locked.txt"]
    assert [path.name for path in empty.iterdir()] == ["sora-demo"]

    again = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(list((empty / "sora-demo" / "output").rglob("*.mp4"))) == 8, "nothing is made twice"
    assert again.stderr.rstrip().splitlines()[-3:] == [
        "  cd sora-demo",
        "  uvx sora-pipeline check manifest.csv    # any manifest: every problem of every row, and what it will cost",
        "  uvx sora-pipeline status                # how far everything is, and what it cost",
    ]
    assert asked == []
