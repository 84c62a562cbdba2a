"""What the Dockerfile installs is all that every process of a deployment needs, and nothing that only developers do."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sora_pipeline_tests.deploy.places import DEPLOY, ROOT

PROGRAMS = (
    ["sora-pipeline", "--help"],
    ["dagster", "api", "grpc", "--help"],
    ["dagster-daemon", "run", "--help"],
    ["dagster-webserver", "--help"],
    ["celery", "--app", "dagster_celery.app", "worker", "--help"],
    ["dagster", "definitions", "validate", "-m", "sora_pipeline.definitions"],
    [
        "python",
        "-c",
        "import adlfs, gcsfs, s3fs, dagster_k8s, dagster_postgres, sora_pipeline.celery_launcher",
    ],
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment as the Dockerfile makes it: the locked wheels by their hashes, then the package, without anything more."""
    folder = tmp_path_factory.mktemp("image")
    python = folder / "sora" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    _do(*uv, "venv", "--python", sys.executable, str(folder / "sora"))
    install = (*uv, "pip", "install", "--python", str(python))
    _do(*install, "--require-hashes", "--only-binary", ":all:", "-r", str(DEPLOY / "requirements.txt"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "sora_pipeline", folder / "sora_pipeline", ignore=shutil.ignore_patterns("__pycache__")
    )
    _do(*install, "--no-deps", "--no-build-isolation", str(folder))
    return python.parent


@pytest.mark.deployment
@pytest.mark.timeout(900)
def test_every_process_of_a_deployment_starts(installed: Path, tmp_path: Path) -> None:
    for program, *arguments in PROGRAMS:
        done = subprocess.run(
            [installed / program, *arguments],
            cwd=tmp_path,
            env={"DAGSTER_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": f"{installed}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{program} {arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert not (installed / "pytest").exists()
    assert not (installed / "mypy").exists()


def _do(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
