"""What the files of ``deploy/`` say agrees: with each other, with the settings that there are, and with the package."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.settings import Settings
from sora_pipeline_tests.deploy.places import DEPLOY, ROOT, procfile, read_yaml

COMPOSE = "compose/compose.yaml"
LOCAL, EVERYWHERE = "127.0.0.1", "0.0.0.0"
UNITS = sorted((DEPLOY / "celery" / "systemd").glob("*.service"))
TEXTS = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "requirements.txt")
READMES = sorted(DEPLOY.glob("*/README.md"))
OWN = {"SORA_IMAGE"}
"""Variables of compose itself."""


def test_units_and_containers_run_the_commands_of_the_procfile() -> None:
    services = read_yaml(COMPOSE)["services"]
    assert {unit.stem for unit in UNITS} == {f"sora-{name}" for name in procfile()}
    for name, command in procfile().items():
        unit = (DEPLOY / "celery" / "systemd" / f"sora-{name}.service").read_text()
        (started,) = re.findall(r"^ExecStart=(.*)$", unit, re.M)
        assert shlex.split(started) == [f"/opt/sora/bin/{command[0]}", *command[1:]]
        assert services[name]["command"] == [EVERYWHERE if word == LOCAL else word for word in command]


def test_every_container_says_whether_it_is_well() -> None:
    services = read_yaml(COMPOSE)["services"]
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"code"}
    assert "HEALTHCHECK" in (DEPLOY / "Dockerfile").read_text(), "the code server's is the image's"


def test_dagster_is_set_as_it_is_on_one_machine() -> None:
    here = read_yaml("celery/dagster.yaml")
    assert set(here) - {"storage", "run_launcher"} == set(shipped := _shipped())
    assert {name: here[name] for name in shipped} == shipped


def test_storage_is_as_the_page_on_postgresql_has_it() -> None:
    page = (ROOT / "docs" / "postgresql.md").read_text()
    (shown,) = re.findall(r"^```yaml\n(storage:.*?)^```", page, re.M | re.S)
    assert yaml.safe_load(shown)["storage"] == read_yaml("celery/dagster.yaml")["storage"]


def test_a_worker_has_room_for_all_runs_that_go_on() -> None:
    worker = procfile()["worker"]
    room = int(worker[worker.index("--concurrency") + 1])
    assert room == read_yaml("celery/dagster.yaml")["run_queue"]["max_concurrent_runs"]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_variables_are_settings_that_there_are(path: Path) -> None:
    known = {f"SORA_{name.upper()}" for name in Settings.model_fields} | OWN
    known |= {f"SORA_SANDBOX_{name.upper()}" for name in SandboxSettings.model_fields}
    assert set(re.findall(r"\bSORA_[A-Z_]*[A-Z]\b", path.read_text())) <= known


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.parent.name)
def test_readmes_name_files_that_there_are(readme: Path) -> None:
    text = readme.read_text()
    assert re.search(r"^```sh\n", text, re.M), "it has no commands"
    for named in re.findall(r"deploy/[\w./-]+\w", text):
        assert (ROOT / named).exists(), named
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (readme.parent / link).exists(), link


def test_the_image_is_made_of_what_there_is() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split() for line in lines if line and line[0].isupper()]
    copied = [each[1:-1] for each in instructions if each[0] == "COPY" and not each[1].startswith("--from")]
    for source in (part for parts in copied for part in parts if not part.startswith("--")):
        assert (ROOT / source).exists(), source
    assert ["USER", "10001"] in instructions
    assert "--require-hashes" in " ".join(lines)


def test_packages_of_the_image_are_those_that_are_tested() -> None:
    tested, deployed = (_pinned(path) for path in (ROOT / "requirements.txt", DEPLOY / "requirements.txt"))
    assert deployed.items() <= tested.items()
    assert {"dagster", "dagster-celery", "dagster-k8s", "dagster-postgres", "s3fs", "gcsfs", "adlfs"} <= set(
        deployed
    )
    assert not {"pytest", "mypy", "ruff", "moto", "playwright"} & set(deployed)


@pytest.mark.deployment
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    assert shutil.which("systemd-analyze"), "systemd is not installed here"
    program = shutil.which("true")
    for each in UNITS:  # one that wants others is looked at with them; the programs are not installed here
        text = re.sub(r"/opt/sora/bin/\S+", str(program), each.read_text())
        (tmp_path / each.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not [line for line in done.stderr.splitlines() if "sora-" in line], done.stderr
    assert done.returncode == 0, done.stderr


def _shipped() -> dict[str, object]:
    text = (ROOT / "sora_pipeline" / "headless" / "dagster.yaml").read_text()
    return dict(yaml.safe_load(text))


def _pinned(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ \\;]+)", path.read_text(), re.M))
