"""What is in the wheel and in the sdist, and what an index shows of them."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest
from readme_renderer import markdown

from sora_pipeline import __version__
from sora_pipeline_tests.docs.blocks import ROOT

REPOSITORY = "https://code.example.org/team/sora_pipeline"
SECRETS = {
    ".env": "SORA_API_KEY=sk-very-secret",
    ".sora/ledger.db": "sk-very-secret",
    "sora_pipeline/.env": "sk-very-secret",
}
BESIDE = ("output/manifest/videos/a.mp4", "sora-demo/manifest.csv", "key.pem", "docs/reference/cli.md")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository as somebody works in it: with a key, a ledger and videos lying around."""
    folder = tmp_path_factory.mktemp("sources") / "repository"
    names = ("sora_pipeline", "sora_pipeline_tests", "data", "docs", "docs_reference", "examples")
    for name in names:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "reference"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    for name in (*SECRETS, *BESIDE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(SECRETS.get(name, "beside"))
    return folder


def built(sources: Path, folder: Path, **variables: str) -> tuple[Path, Path]:
    """Wheel and sdist."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=sources,
        env={name: value for name, value in os.environ.items() if name != "REPOSITORY_URL"} | variables,
        check=True,
        capture_output=True,
    )
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def plain(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Built by somebody who does not say where the repository is."""
    return built(sources, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def released(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Built for a release."""
    return built(sources, tmp_path_factory.mktemp("released"), REPOSITORY_URL=f"{REPOSITORY}/")


def contents(archive: Path) -> dict[str, bytes]:
    """Every file of a wheel or an sdist; of the latter without the folder that all are in."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as sdist:
        files = [member for member in sdist if member.isfile()]
        return {each.name.partition("/")[2]: sdist.extractfile(each).read() for each in files}  # type: ignore[union-attr]


def metadata_of(wheel: Path) -> Message:
    """The wheel's metadata."""
    (found,) = (text for name, text in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    return BytesParser().parsebytes(found)


def as_an_index_shows_it(wheel: Path) -> str:
    """The README as HTML."""
    shown = markdown.render(str(metadata_of(wheel).get_payload()))
    assert shown is not None
    return shown


def test_wheel_has_the_package_its_data_and_nothing_else(plain: tuple[Path, Path]) -> None:
    inside = contents(plain[0])
    assert {name.partition("/")[0] for name in inside} == {
        "sora_pipeline",
        f"sora_pipeline-{__version__}.dist-info",
    }
    assert not [name for name in inside if "test" in name.lower() or name.rpartition("/")[2].startswith(".")]
    for name in (
        "py.typed",
        "headless/dagster.yaml",
        "provider/catalogue.toml",
        "provider/status_words.toml",
    ):
        assert f"sora_pipeline/{name}" in inside


def test_example_is_in_the_wheel_as_it_is_in_the_repository(plain: tuple[Path, Path]) -> None:
    inside = contents(plain[0])
    packaged = {name: text for name, text in inside.items() if name.startswith("sora_pipeline/example/")}
    paths = [ROOT / "data" / "manifest.csv", *(ROOT / "data" / "images").iterdir()]
    assert packaged == {
        f"sora_pipeline/example/{path.relative_to(ROOT / 'data').as_posix()}": path.read_bytes()
        for path in paths
    }


def test_sdist_has_what_a_wheel_is_built_from_and_the_docs(plain: tuple[Path, Path]) -> None:
    inside = contents(plain[1])
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "hatch_build.py",
        "data/manifest.csv",
        "docs/design.md",
    ):
        assert name in inside
    assert not set(inside) & {*SECRETS, *BESIDE}


def test_wheel_built_from_the_sdist_is_the_same(plain: tuple[Path, Path], tmp_path: Path) -> None:
    with tarfile.open(plain[1]) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    wheel, _ = built(unpacked, tmp_path / "again")
    assert contents(wheel) == contents(plain[0])


@pytest.mark.parametrize("which", [0, 1])
def test_no_secret_that_lies_around_is_packed(plain: tuple[Path, Path], which: int) -> None:
    assert [name for name, text in contents(plain[which]).items() if b"sk-very-secret" in text] == []


def test_metadata_say_what_it_is(released: tuple[Path, Path]) -> None:
    said = metadata_of(released[0])
    assert said["Version"] == __version__
    assert said["License-Expression"] == "Apache-2.0"
    assert "dagster" in said["Keywords"]
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    assert f"Repository, {REPOSITORY}" in said.get_all("Project-URL", [])
    assert f"Changelog, {REPOSITORY}/blob/v{__version__}/CHANGELOG.md" in said.get_all("Project-URL", [])


def test_pictures_and_links_of_a_release_lead_to_its_tag(released: tuple[Path, Path]) -> None:
    shown = as_an_index_shows_it(released[0])
    assert f'src="{REPOSITORY}/raw/v{__version__}/docs/images/gallery.png"' in shown
    assert f'href="{REPOSITORY}/blob/v{__version__}/docs/litellm.md"' in shown
    assert 'src="docs/' not in shown
    assert 'href="docs/' not in shown


def test_without_an_address_nothing_is_invented_and_nothing_is_broken(plain: tuple[Path, Path]) -> None:
    assert metadata_of(plain[0]).get_all("Project-URL") is None
    shown = as_an_index_shows_it(plain[0])
    assert "<img" not in shown
    assert 'href="docs/' not in shown
    assert "through LiteLLM" in shown
