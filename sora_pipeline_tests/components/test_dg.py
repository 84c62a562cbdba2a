"""The real ``dg`` in a project of somebody else's, in an environment where the wheel is installed."""

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPONENT = "sora_pipeline.components.VideoProduction"
SECRET = "sk-very-secret"
SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
PROJECT = """
[project]
name = "shop"
version = "0"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "shop"
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


@dataclass
class Project:
    """A project, and its environment's `dg`."""

    folder: Path
    bin: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def defs(self) -> Path:
        return self.folder / "src" / "shop" / "defs"

    def dg(self, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.bin / "dg"), *arguments],
            cwd=self.folder,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def component(self, folder: str, attributes: str) -> None:
        (self.defs / folder).mkdir(exist_ok=True)
        (self.defs / folder / "defs.yaml").write_text(f"type: {COMPONENT}\n\nattributes:\n{attributes}")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and everything else from the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "bin" / "python"
    wheel = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    subprocess.run(wheel, cwd=ROOT, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (built,) = (folder / "dist").glob("*.whl")
    install = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--offline",
        "--no-deps",
        "--python",
        str(python),
    ]
    subprocess.run([*install, str(built)], check=True, capture_output=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # A path that is named like this has its own .pth files ignored: this checkout is not among what can be imported.
    (packages / "everything_else.pth").write_text(sysconfig.get_path("purelib"))
    for name, module in (("dg", "dagster_dg_cli.cli"), ("dagster", "dagster.cli")):
        (folder / "bin" / name).write_text(SCRIPT.format(python=python, module=module))
        (folder / "bin" / name).chmod(0o755)
    return folder


@pytest.fixture
def project(environment: Path, tmp_path: Path) -> Project:
    package = tmp_path / "shop" / "src" / "shop"
    (package / "defs").mkdir(parents=True)
    for path in (package, package / "defs"):
        (path / "__init__.py").touch()
    (package / "definitions.py").write_text(DEFINITIONS)
    (tmp_path / "shop" / "pyproject.toml").write_text(PROJECT)
    variables = {
        "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(package.parent),
        "VIRTUAL_ENV": str(environment),
        "HOME": str(tmp_path),
        "COLUMNS": "200",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    return Project(tmp_path / "shop", environment / "bin", variables)


def test_wheel_itself_registers_the_component(environment: Path) -> None:
    """Else `dg` might have found it in the environment that runs the tests."""
    (registered,) = environment.glob("lib/python*/site-packages/sora_pipeline-*.dist-info/entry_points.txt")
    assert (
        "[dagster_dg_cli.registry_modules]\nsora_pipeline = sora_pipeline.components"
        in registered.read_text()
    )
    where = "import sora_pipeline; print(sora_pipeline.__file__)"
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = [str(environment / "bin" / "python"), "-c", where]
    shown = subprocess.run(run, env=variables, cwd=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.startswith(str(environment))


def test_component_is_listed_scaffolded_checked_and_shown(project: Project) -> None:
    listed = json.loads(project.dg("list", "components", "--json").stdout)
    assert COMPONENT in {each["key"] for each in listed["items"]}
    scaffolded = project.dg("scaffold", "defs", COMPONENT, "acme")
    assert scaffolded.returncode == 0, scaffolded.stderr
    assert "name: acme" in (project.defs / "acme" / "defs.yaml").read_text()
    checked = project.dg("check", "defs")
    assert "All definitions loaded successfully" in checked.stdout, checked.stdout + checked.stderr
    shown = json.loads(project.dg("list", "defs", "--json").stdout)
    assert [each["asset_key"] for each in shown["assets"]] == [
        "acme/generations",
        "acme/prompt_manifest",
        "acme/video_manifest",
        "acme/videos",
    ]


def test_two_components_with_secrets_in_one_project(project: Project) -> None:
    project.component("one", "  name: one\n  provider: gptproto\n  api_key: '{{ env.ONE_KEY }}'\n")
    project.component(
        "two", "  name: two\n  cron: '@daily'\n  key_prefix: [brands, two]\n  budget_usd: 2.50\n"
    )
    checked = project.dg("check", "defs", ONE_KEY=SECRET)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    shown = project.dg("list", "defs", "--json", ONE_KEY=SECRET)
    assert SECRET not in checked.stdout + checked.stderr + shown.stdout + shown.stderr
    keys = {each["asset_key"] for each in json.loads(shown.stdout)["assets"]}
    assert {"one/videos", "brands/two/videos"} <= keys


@pytest.mark.parametrize(
    ("attributes", "sentence"),
    [
        (
            "  name: acme\n  buget_usd: 5\n",
            "Additional properties are not allowed ('buget_usd' was unexpected)",
        ),
        ("  name: acme\n  budget_usd: much\n", "valid decimal"),
        ("  name: acme video\n", "a pipeline's name begins with a letter and holds letters, digits"),
        (
            "  name: acme\n  api_key: '{{ env.NOT_SET }}'\n",
            "api_key of the Component acme is written down, but",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence(project: Project, attributes: str, sentence: str) -> None:
    project.component("acme", attributes)
    checked = project.dg("check", "defs", SORA_API_KEY=SECRET)
    assert checked.returncode != 0
    assert sentence in checked.stdout + checked.stderr
    assert SECRET not in checked.stdout + checked.stderr


def test_two_components_of_one_name_are_refused(project: Project) -> None:
    project.component("one", "  name: acme\n")
    project.component("two", "  name: acme\n")
    checked = project.dg("check", "defs")
    assert checked.returncode != 0
    assert "two VideoProduction components have the name 'acme'" in checked.stdout + checked.stderr
