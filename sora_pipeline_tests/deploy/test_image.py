"""What the Dockerfile installs is all that every process of a deployment needs, and nothing that only developers do."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
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
    """An environment as the Dockerfile makes it, by its own instructions, from nothing but what is sent to a build."""
    folder = tmp_path_factory.mktemp("image")
    made, source = folder / "sora", folder / "src"
    source.mkdir()
    for instruction, words in instructions("build"):
        if instruction == "RUN":
            program, *arguments = [word.replace("/opt/sora", str(made)) for word in words]
            _do(sys.executable if program == "python" else program, *arguments, cwd=source)
        elif instruction == "COPY":
            *names, target = words
            for name in names:
                copy(name, source / target / name if target == "./" else source / target)
    return made / "bin"


def instructions(stage: str) -> Iterator[tuple[str, list[str]]]:
    """The instructions of one stage of the Dockerfile, each with its words."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    (_, _, mine) = text.partition(f" AS {stage}\n")
    for line in re.split(r"^FROM ", mine, maxsplit=1, flags=re.MULTILINE)[0].splitlines():
        if line.strip():
            instruction, *words = shlex.split(line)
            yield instruction, words


def copy(name: str, target: Path) -> None:
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert f"!{name.partition('/')[0]}" in sent, f"{name} is not sent to a build"
    target.parent.mkdir(parents=True, exist_ok=True)
    if (ROOT / name).is_dir():
        shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__", ".env"))
    else:
        shutil.copy(ROOT / name, target)


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


def _do(*command: str, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
