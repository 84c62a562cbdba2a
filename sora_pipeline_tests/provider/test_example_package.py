"""The example of a provider's package, installed as its users install one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "sora-provider-example"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the example installed, beside what the tests run with."""
    site = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(site), str(EXAMPLE)]
    subprocess.run([sys.executable, "-m", "uv", "pip", *install, "--python", sys.executable], check=True)
    return site


@pytest.fixture
def environment(site: Path, home: Path) -> dict[str, str]:
    """The home's variables, and the example among the packages."""
    paths = (str(site), os.environ.get("PYTHONPATH", ""))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "COLUMNS": "200"}


@pytest.fixture
def address(environment: dict[str, str]) -> Iterator[str]:
    """The example's emulator, as its README starts it."""
    command = [sys.executable, str(EXAMPLE / "tests" / "emulator.py"), "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def command(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_example_passes_the_conformance_kit(environment: dict[str, str]) -> None:
    kit = command(environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE))
    assert kit.returncode == 0, kit.stdout
    assert "passed" in kit.stdout
    assert "skipped" not in kit.stdout


def test_commands_know_the_examples_model_and_reach_its_provider(
    environment: dict[str, str], address: str, tmp_path: Path
) -> None:
    chosen = {"SORA_PROVIDER": "example", "SORA_MODEL": "example-1", "SORA_API_KEY": "example-key"}
    environment = {**environment, **chosen, "SORA_BASE_URL": address}
    models = command(environment, "-m", "sora_pipeline", "models")
    assert "example-1 example 5, 10" in " ".join(models.stdout.split())
    assert "installed providers: example, gptproto" in models.stdout
    doctor = command(environment, "-m", "sora_pipeline", "doctor")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "the provider accepts the key" in doctor.stdout
    assert "the provider has example-1" in doctor.stdout
    manifest = tmp_path / "prompts.csv"
    manifest.write_text("prompt,duration,size\na fox,10,1280x720\n")
    check = command(environment, "-m", "sora_pipeline", "check", str(manifest))
    assert check.returncode == 0, check.stderr
    assert "0.50 USD" in check.stdout


def test_without_its_key_the_example_is_refused_in_one_sentence(environment: dict[str, str]) -> None:
    refused = command({**environment, "SORA_PROVIDER": "example"}, "-m", "sora_pipeline", "models")
    assert refused.returncode == 2
    assert "SORA_API_KEY is not set, and SORA_PROVIDER=example needs a key" in refused.stderr
