"""The ledger and the Dagster home: whoever else is on the machine reads nothing of them, whatever the umask says."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sora_pipeline.headless.home import prepare_home
from sora_pipeline.ledger import Ledger
from sora_pipeline.private_files import close_to_others
from sora_pipeline_tests.conftest import Producer, rows_of

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


@pytest.fixture(params=[0o022, 0o000, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def open_files(path: Path) -> dict[str, int]:
    """Files of the ledger that others may read, while it is open."""
    return {each.name: mode(each) for each in path.parent.glob(f"{path.name}*") if mode(each) & 0o077}


def test_a_ledger_is_private_from_its_first_byte(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "new" / "ledger.db"
    ledger = Ledger(f"sqlite:///{path}")
    assert mode(path) == PRIVATE_FILE
    assert mode(path.parent) == PRIVATE_FOLDER
    assert {each.name for each in path.parent.iterdir()} >= {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
    assert open_files(path) == {}
    ledger.close()


def test_a_ledger_of_earlier_is_closed_when_it_is_opened(umask: int, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    earlier = Ledger(f"sqlite:///{path}")
    for each in tmp_path.glob("ledger.db*"):
        each.chmod(0o664)
    again = Ledger(f"sqlite:///{path}")  # while another process still has it open
    assert open_files(path) == {}
    earlier.close()
    again.close()


def test_the_folder_of_somebody_elses_choice_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Ledger(f"sqlite:///{tmp_path / 'ledger.db'}").close()
    assert mode(tmp_path) == 0o755
    assert mode(tmp_path / "ledger.db") == PRIVATE_FILE


def test_a_ledger_named_as_sqlites_own_uri_is_private_and_one_in_memory_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Ledger(f"sqlite:///file:{tmp_path}/ledger.db?uri=true").close()
    assert mode(tmp_path / "ledger.db") == PRIVATE_FILE
    (tmp_path / "ledger.db").unlink()
    for url in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:shared?mode=memory&cache=shared&uri=true"):
        Ledger(url).close()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((":", "file", "shared"))] == []


def test_a_home_is_private(umask: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "new" / "home"))
    home = prepare_home()
    assert mode(home) == PRIVATE_FOLDER
    home.chmod(0o755)
    prepare_home()
    assert mode(home) == PRIVATE_FOLDER


@pytest.mark.parametrize("postgres_url", ["sqlite"], indirect=True)
def test_a_command_leaves_nothing_for_others(home: Path, tmp_path: Path, production: Producer) -> None:
    production(rows_of(a="a fox"))
    prepare_home()
    home.chmod(0o755)
    (home / "ledger.db").chmod(0o644)
    for arguments in (["status"], ["costs"]):
        subprocess.run([sys.executable, "-m", "sora_pipeline", *arguments], check=True, capture_output=True)
        assert mode(home) == PRIVATE_FOLDER
        assert mode(home / "ledger.db") == PRIVATE_FILE
        home.chmod(0o755)
    assert mode(tmp_path / "out" / "prompts") & 0o055, "an output is shared as the umask says"


def test_what_is_shared_on_purpose_or_belongs_to_others_stays(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    close_to_others(shared)
    assert mode(shared) == 0o1777
    close_to_others(tmp_path / "absent")
    theirs = Path("/etc/passwd")  # root's, and readable by all, on every machine
    if os.getuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.touch()
        theirs.chmod(0o644)
        os.chown(theirs, 65534, 65534)
    close_to_others(theirs)
    assert mode(theirs) == 0o644
