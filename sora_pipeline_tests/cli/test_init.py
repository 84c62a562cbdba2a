"""``init`` and ``.env``: a folder to begin from, of which everything works as it is written."""

import os
import re
import stat
from pathlib import Path

import pytest

from sora_pipeline.cli.dotenv import read_dotenv
from sora_pipeline.settings import SECRET_FIELDS, Settings, SettingsError, variable
from sora_pipeline.starter import ENVIRONMENT, MANIFEST, WORKBOOK
from sora_pipeline_tests.cli.test_commands import in_a_process, invoke


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "campaign"
    assert invoke("init", str(made)).exit_code == 0
    return made


@pytest.mark.parametrize("manifest", [MANIFEST, WORKBOOK])
def test_manifests_that_are_written_are_right(home: Path, folder: Path, manifest: str) -> None:
    result = invoke("check", str(folder / manifest))
    assert result.exit_code == 0, result.stderr
    assert "3 clips are fine" in result.stdout


def test_every_setting_is_in_env_with_its_default(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (folder / ENVIRONMENT).read_text("utf-8").splitlines()
    assert {line.removeprefix("# ").partition("=")[0] for line in lines if line.startswith("# SORA_")} == {
        variable(name) for name in Settings.model_fields
    }
    assert stat.S_IMODE((folder / ENVIRONMENT).stat().st_mode) == 0o600
    for name in Settings.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    before = Settings.from_env()
    uncommented = [line.removeprefix("# ") if line.startswith("# SORA_") else line for line in lines]
    (folder / ENVIRONMENT).write_text("\n".join(uncommented), "utf-8")
    monkeypatch.chdir(folder)
    for line in uncommented:
        if line.startswith("SORA_"):  # taken away again by the fixture
            monkeypatch.setenv(line.partition("=")[0], "")
            monkeypatch.delenv(line.partition("=")[0])
    read_dotenv()
    after = Settings.from_env()
    changed = {name for name in Settings.model_fields if getattr(after, name) != getattr(before, name)}
    assert changed - set(SECRET_FIELDS) <= {"output"}, "defaults as they are written are the defaults"


def test_nothing_of_a_persons_own_is_written_over(home: Path, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("mine")
    result = invoke("init", str(tmp_path))
    assert f"{tmp_path / MANIFEST} is there already" in str(result.exception)
    assert {path.name for path in tmp_path.iterdir() if path != home} == {MANIFEST}


def test_env_of_the_present_folder_is_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("export SORA_MAX_ATTEMPTS=7\nSORA_IMAGE_FIT=\nPYTHONPATH=/evil\n")
    for name in ("SORA_MAX_ATTEMPTS", "SORA_IMAGE_FIT", "PYTHONPATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    read_dotenv()
    assert Settings.from_env().max_attempts == 7
    assert "PYTHONPATH" not in os.environ


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SORA_MODEL=sora-2\n", "line 1: SORA_MODEL has another value here"),
        ("SORA_BUDGET_USD: 5\n", "line 1 cannot be read"),
        ("SORA_BUDGET_USD 5\n", "line 1 cannot be read"),
        ('SORA_BUDGET_USD="5\n', "line 1 cannot be read"),
        ("SORA_BUDGET_USD\n", "line 1: SORA_BUDGET_USD has no value"),
        ("sora_budget_usd=5\n", "write SORA_BUDGET_USD"),
        ("SORA_OUTPUT=${HOME}/out\n", "holds a $"),
        ("SORA_BASE_URL=http://elsewhere.example\n", "set both in one place"),
    ],
)
def test_line_of_env_that_would_be_taken_otherwise_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SORA_MODEL", "sora-2-pro")
    monkeypatch.setenv("SORA_API_KEY", "sk-real")
    monkeypatch.delenv("SORA_BASE_URL", raising=False)
    (tmp_path / ".env").write_text(text)
    before = dict(os.environ)
    with pytest.raises(SettingsError, match=re.escape(words)):
        read_dotenv()
    assert dict(os.environ) == before


def test_mistake_in_env_is_named_like_one_in_the_environment(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SORA_BUGET_USD=5\n")
    result = in_a_process("status")
    assert result.returncode == 2
    assert "Did you mean SORA_BUDGET_USD?" in result.stderr


def test_env_that_cannot_be_read_is_one_sentence(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_bytes(b"SORA_MODEL=\xff\xfe\n")
    result = in_a_process("status")
    assert result.returncode == 2
    assert ".env cannot be read" in result.stderr
    assert "Traceback" not in result.stderr
