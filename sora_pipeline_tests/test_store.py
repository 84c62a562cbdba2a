import errno
import os
import threading
import time
import uuid
from pathlib import Path
from typing import IO

import fsspec
import pytest

from sora_pipeline.advice import explained
from sora_pipeline.store import ABANDONED_S, OutputStore, StoreError


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> OutputStore:
    if request.param == "local":
        return OutputStore(str(tmp_path / "output"))
    return OutputStore(f"memory://{uuid.uuid4().hex}/output")


@pytest.fixture
def local_store(tmp_path: Path) -> OutputStore:
    return OutputStore(str(tmp_path / "output"))


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    path = tmp_path / "finished.mp4"
    path.write_bytes(b"video" * 1000)
    return path


def files_below(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_was_put_can_be_read_back(store: OutputStore, finished: Path):
    store.put_file(finished, "videos/a/1.mp4")

    assert store.exists("videos/a/1.mp4")
    assert store.size("videos/a/1.mp4") == 5000
    assert store.read_bytes("videos/a/1.mp4") == finished.read_bytes()
    assert not store.exists("videos/a/2.mp4")


def test_a_stored_file_is_never_overwritten(store: OutputStore, finished: Path):
    store.put_file(finished, "videos/a/1.mp4")
    finished.write_bytes(b"another")

    with pytest.raises(FileExistsError):
        store.put_file(finished, "videos/a/1.mp4")

    assert store.size("videos/a/1.mp4") == 5000


def test_replacing_bytes_replaces_them_whole(store: OutputStore):
    store.replace_bytes("metadata.parquet", b"a longer first version")
    store.replace_bytes("metadata.parquet", b"second")

    assert store.read_bytes("metadata.parquet") == b"second"


def test_what_is_too_large_to_be_held_is_written_and_read_as_a_stream(store: OutputStore):
    parts = [bytes([number]) * 700_000 for number in range(5)]
    store.replace_bytes(".snapshots/1.parquet", b"old")
    store.replace_written(".snapshots/1.parquet", lambda stream: stream.writelines(parts))

    copy = store.read_to_spool(".snapshots/1.parquet")
    assert copy.read() == store.read_bytes(".snapshots/1.parquet") == b"".join(parts)
    with pytest.raises(FileNotFoundError):
        store.read_to_spool(".snapshots/2.parquet")


def test_what_could_not_be_written_to_its_end_replaces_nothing(local_store: OutputStore):
    def broken(stream: IO[bytes]) -> None:
        stream.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    local_store.replace_bytes("metadata.parquet", b"old")
    with pytest.raises(StoreError, match="there is no space left"):
        local_store.replace_written("metadata.parquet", broken)

    assert local_store.read_bytes("metadata.parquet") == b"old"
    assert list(local_store.staging_dir().iterdir()) == []


def test_removed_output_is_gone_and_may_be_removed_again(store: OutputStore):
    store.replace_bytes("gallery/list-1.js", b"old")
    store.remove("gallery/list-1.js")
    store.remove("gallery/list-1.js")

    assert not store.exists("gallery/list-1.js")
    assert store.names("gallery") == []


@pytest.mark.parametrize("question", ["read_bytes", "size"])
def test_a_missing_output_is_not_found(store: OutputStore, question: str):
    with pytest.raises(FileNotFoundError):
        getattr(store, question)("videos/none.mp4")


@pytest.mark.parametrize("relative", ["", "/etc/passwd", "../outside", "a/../../b", "a//b", "a\\b", "."])
def test_no_output_lies_outside_the_store(store: OutputStore, finished: Path, relative: str):
    with pytest.raises(ValueError, match="not a relative path"):
        store.put_file(finished, relative)
    with pytest.raises(ValueError, match="not a relative path"):
        store.uri_of(relative)


def test_local_outputs_are_named_by_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    store = OutputStore("output")

    assert store.uri_of("videos/a.mp4") == str(tmp_path / "output/videos/a.mp4")
    assert store.local_path("videos/a.mp4") == tmp_path / "output/videos/a.mp4"
    assert OutputStore((tmp_path / "output").as_uri()).uri_of("a.mp4") == str(tmp_path / "output/a.mp4")


def test_remote_outputs_are_named_by_uri():
    store = OutputStore("memory://bucket/output/")

    assert store.uri_of("videos/a.mp4") == "memory://bucket/output/videos/a.mp4"
    assert store.local_path("videos/a.mp4") is None
    assert fsspec.core.url_to_fs(store.uri_of("a"))[1] == "/bucket/output/a"


@pytest.mark.parametrize("place", ["me:hidden@host/output", "host/output?sig=hidden", "host/output#hidden"])
def test_a_secret_in_the_uri_is_refused_since_every_row_and_event_would_have_it(place: str):
    with pytest.raises(StoreError, match="must hold no password") as caught:
        OutputStore(f"memory://{place}")
    assert "hidden" not in str(caught.value)
    assert "FSSPEC_SFTP_PASSWORD" in explained(caught.value)
    assert OutputStore("memory://me@host/output").uri == "memory://me@host/output"


@pytest.mark.parametrize(
    "uri", ["simplecache::s3://bucket/output", "zip://output::/tmp/a.zip", "dir://a::memory://b"]
)
def test_an_output_behind_another_address_is_refused(uri: str):
    with pytest.raises(StoreError, match="behind another address"):
        OutputStore(uri)


def test_a_folder_may_have_any_name(tmp_path: Path):
    assert OutputStore(f"{tmp_path}/a::b").uri == f"{tmp_path}/a::b"


def test_the_staging_folder_is_in_the_file_system_of_a_local_store(local_store: OutputStore):
    root = local_store.local_path("x").parent

    assert local_store.staging_dir() == root / ".staging"
    assert local_store.staging_dir().is_dir()
    assert OutputStore("memory://x").staging_dir().is_dir()


def test_what_goes_elsewhere_is_staged_for_each_user_and_each_output_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monday = OutputStore("memory://x/monday").staging_dir()
    tuesday = OutputStore("memory://x/tuesday").staging_dir()
    monkeypatch.setattr(os, "getuid", lambda: 64_000)
    assert len({monday, tuesday, OutputStore("memory://x/monday").staging_dir()}) == 3


def test_abandoned_files_of_other_outputs_elsewhere_are_cleared_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monday, tuesday = (OutputStore(f"memory://x/{name}") for name in ("monday", "tuesday"))
    old, new = (monday.staging_dir() / name for name in ("old.part", "new.part"))
    for path in (old, new):
        path.write_bytes(b"video")
    long_ago = time.time() - ABANDONED_S - 1
    os.utime(old, (long_ago, long_ago))
    tuesday.clear_staging()
    assert [path.name for path in monday.staging_dir().iterdir()] == ["new.part"]


def test_a_staged_file_gets_its_final_name_without_a_copy(local_store: OutputStore):
    staged = local_store.staging_dir() / "download.part"
    staged.write_bytes(b"video")

    local_store.put_file(staged, "videos/a.mp4")

    final = local_store.local_path("videos/a.mp4")
    assert final.stat().st_ino == staged.stat().st_ino
    staged.unlink()
    assert final.read_bytes() == b"video"


def test_nothing_temporary_stays_behind(local_store: OutputStore, finished: Path):
    local_store.put_file(finished, "videos/a.mp4")
    local_store.replace_bytes("metadata.parquet", b"rows")

    assert files_below(local_store.local_path("x").parent) == {"videos/a.mp4", "metadata.parquet"}
    assert finished.exists()


def test_what_killed_processes_left_unfinished_is_cleared_away(local_store: OutputStore):
    old, new = (local_store.staging_dir() / name for name in ("old.part", "new.part"))
    for path in (old, new):
        path.write_bytes(b"half a video")
    long_ago = time.time() - ABANDONED_S - 1
    os.utime(old, (long_ago, long_ago))
    local_store.clear_staging()
    assert [path.name for path in local_store.staging_dir().iterdir()] == ["new.part"]


def test_outputs_are_readable_as_the_umask_says(local_store: OutputStore, finished: Path):
    old = os.umask(0o022)
    try:
        local_store.replace_bytes("metadata.parquet", b"rows")
        local_store.put_file(finished, "a.mp4")
    finally:
        os.umask(old)

    assert local_store.local_path("metadata.parquet").stat().st_mode & 0o777 == 0o644
    assert local_store.local_path("a.mp4").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("dying", ["fsync", "link"])
def test_a_crash_leaves_nothing_under_the_final_name(
    local_store: OutputStore, finished: Path, monkeypatch: pytest.MonkeyPatch, dying: str
):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, dying, die)
    with pytest.raises(KeyboardInterrupt):
        local_store.put_file(finished, "videos/a.mp4")

    assert not local_store.exists("videos/a.mp4")


def test_a_crash_while_replacing_keeps_the_old_version(
    local_store: OutputStore, monkeypatch: pytest.MonkeyPatch
):
    local_store.replace_bytes("metadata.parquet", b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="no space left"):
        local_store.replace_bytes("metadata.parquet", b"new")

    assert local_store.read_bytes("metadata.parquet") == b"old"


@pytest.mark.parametrize("staged", [True, False])
def test_file_systems_without_hard_links_work_too(
    local_store: OutputStore, finished: Path, monkeypatch: pytest.MonkeyPatch, staged: bool
):
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    if staged:
        finished = finished.rename(local_store.staging_dir() / "x.part")
    local_store.put_file(finished, "videos/a.mp4")

    assert local_store.size("videos/a.mp4") == 5000
    assert finished.exists()
    with pytest.raises(FileExistsError):
        local_store.put_file(finished, "videos/a.mp4")


def test_of_many_writers_of_one_name_exactly_one_wins(local_store: OutputStore, tmp_path: Path):
    start, won, lost = threading.Barrier(8), [], []

    def put(number: int) -> None:
        mine = tmp_path / f"{number}.mp4"
        mine.write_bytes(str(number).encode() * 1000)
        start.wait()
        try:
            local_store.put_file(mine, "videos/a.mp4")
            won.append(number)
        except FileExistsError:
            lost.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(won), len(lost)) == (1, 7)
    assert local_store.read_bytes("videos/a.mp4") == str(won[0]).encode() * 1000


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left. Free some space"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EACCES, "permission is denied. Give this user the right"),
        (errno.EROFS, "read-only. Name a place"),
    ],
)
def test_problems_say_which_output_what_failed_and_what_to_do(
    local_store: OutputStore, finished: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
):
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError) as caught:
        local_store.put_file(finished, "videos/a.mp4")

    assert local_store.uri_of("videos/a.mp4") in caught.value.message
    assert said in explained(caught.value)


@pytest.mark.parametrize("occupied", ["output", "output/videos"])
def test_a_file_in_the_place_of_a_folder_does_not_pass_for_an_existing_output(
    tmp_path: Path, finished: Path, occupied: str
):
    (tmp_path / occupied).parent.mkdir(exist_ok=True)
    (tmp_path / occupied).write_text("in the way")

    with pytest.raises(StoreError, match="is a file, not a folder"):
        OutputStore(str(tmp_path / "output")).put_file(finished, "videos/a.mp4")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch):
    def no_driver(uri: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("sora_pipeline.store.url_to_fs", no_driver)
    with pytest.raises(StoreError, match=r"s3://bucket/out could not be opened: Install s3fs.*install\s+it"):
        OutputStore("s3://bucket/out")


def test_an_unknown_protocol_says_what_a_uri_looks_like():
    with pytest.raises(StoreError, match=r"Protocol not known: floppy") as caught:
        OutputStore("floppy://a/b")
    assert "SORA_OUTPUT" in explained(caught.value)


def test_a_remote_failure_is_a_problem_with_its_own_words(finished: Path, monkeypatch: pytest.MonkeyPatch):
    store = OutputStore("memory://bucket/output")

    class NoCredentialsError(Exception):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(store._fs, "put_file", refuse, raising=False)
    with pytest.raises(StoreError, match="NoCredentialsError: Unable to locate credentials") as caught:
        store.put_file(finished, "videos/refused.mp4")
    assert "the credentials" in explained(caught.value)


def test_the_store_does_not_load_dagster():
    import subprocess
    import sys

    code = "import sys, sora_pipeline.store; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("remote", [False, True])
def test_names_are_those_directly_in_a_folder(tmp_path: Path, remote: bool):
    store = OutputStore(f"memory://{uuid.uuid4().hex}" if remote else str(tmp_path / "out"))
    assert store.names(".sidecars/a") == []
    for name in (".sidecars/a/2.json", ".sidecars/a/1.json", ".sidecars/b/3.json"):
        store.replace_bytes(name, b"{}")

    assert store.names(".sidecars/a") == [".sidecars/a/1.json", ".sidecars/a/2.json"]
    assert ".sidecars" in store.names("")
