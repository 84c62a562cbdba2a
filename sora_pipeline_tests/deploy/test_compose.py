"""``deploy/compose`` as Docker's own programs read it; containers are not started here, which needs an engine."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sora_pipeline_tests.deploy.places import DEPLOY

pytestmark = pytest.mark.deployment
SERVICES = {"postgres", "rabbitmq", "code", "daemon", "web", "worker", "sandbox"}


def compose() -> list[str]:
    """Compose 2, a plug-in of docker, or Compose 1."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    tried = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    assert tried.returncode == 0, "neither docker-compose nor docker compose is installed here"
    return ["docker", "compose"]


def config(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*compose(), "--file", "compose.yaml", "config"],
        cwd=folder / "deploy" / "compose",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The folder as it is in the repository, with an ``.env`` of one's own."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    return tmp_path


def test_compose_accepts_the_file(checkout: Path) -> None:
    folder = checkout / "deploy" / "compose"
    shutil.copy(folder / "example.env", folder / ".env")
    done = config(checkout)
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)
    assert set(read["services"]) == SERVICES
    environment = read["services"]["worker"]["environment"]
    assert environment["SORA_PROVIDER"] == "sandbox"
    assert environment["SORA_BASE_URL"] == "http://sandbox:8090"
    assert "choose-one@postgres" in environment["SORA_LEDGER_URL"]
    published = json.dumps(
        [service.get("ports") for service in read["services"].values() if service.get("ports")]
    )
    assert "127.0.0.1" in published
    assert "0.0.0.0" not in published


def test_compose_asks_for_passwords(checkout: Path) -> None:
    (checkout / "deploy" / "compose" / ".env").write_text("SORA_PROVIDER=sandbox\n")
    done = config(checkout)
    assert done.returncode != 0
    assert "is missing in .env" in done.stderr
