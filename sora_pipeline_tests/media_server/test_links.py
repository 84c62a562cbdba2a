import errno
import fcntl
import stat
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE, Popen

import fsspec
import pytest

from sora_pipeline.headless.home import prepare_home
from sora_pipeline.media_server.keys import KEY_FILE, MediaKeyError, make_key, read_key
from sora_pipeline.media_server.links import DEFAULT_URL, LASTS_DAYS, MediaLinks, media_links
from sora_pipeline.media_server.object_links import object_link
from sora_pipeline.media_server.public_links import public_address
from sora_pipeline.settings import Settings


def parts(link: str) -> tuple[int, str]:
    query = dict(pair.split("=", 1) for pair in link.partition("?")[2].split("&"))
    return int(query["until"]), query["sig"]


def test_a_link_opens_its_own_file_and_no_other() -> None:
    links, others = MediaLinks("http://127.0.0.1:1", b"1" * 32), MediaLinks("http://127.0.0.1:1", b"2" * 32)
    until, signature = parts(links.to("spring", "videos/a/a-1.mp4"))
    assert links.is_ours("spring", "videos/a/a-1.mp4", until, signature)
    assert not links.is_ours("spring", "videos/b/b-1.mp4", until, signature)
    assert not links.is_ours("autumn", "videos/a/a-1.mp4", until, signature)
    assert not links.is_ours("spring", "videos/a/a-1.mp4", until + 1, signature)
    assert not others.is_ours("spring", "videos/a/a-1.mp4", until, signature)
    assert not links.is_ours("spring", "videos/a/a-1.mp4", until, "é")


def test_a_link_lasts_as_long_as_it_says_and_is_the_same_all_day() -> None:
    links = MediaLinks("http://127.0.0.1:1/", b"1" * 32)
    until, _ = parts(links.to("spring", "videos/a b/#.mp4"))
    assert LASTS_DAYS * 86_400 <= until - time.time() <= (LASTS_DAYS + 1) * 86_400
    assert links.to("spring", "x") == links.to("spring", "x")
    assert links.to("spring", "videos/a b/#.mp4").startswith(
        "http://127.0.0.1:1/media/spring/videos/a%20b/%23.mp4?"
    )
    assert "1111" not in repr(links), "the key is shown nowhere"


def test_a_home_that_our_commands_make_has_a_key_of_its_own(home: Path) -> None:
    (home / KEY_FILE).unlink(missing_ok=True)  # where the tests' home is one of our commands
    assert media_links(Settings(), home) is None, "a deployment's own home, of which nothing is known"
    prepare_home()
    links = media_links(Settings(), home)
    assert links is not None
    assert links.address == DEFAULT_URL
    assert links.key == read_key(home)
    assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600
    prepare_home()
    assert read_key(home) == links.key, "it stays"


def test_a_deployment_that_names_its_media_server_gets_a_key(home: Path) -> None:
    links = media_links(Settings(media_url="https://media.acme.example"), home)
    assert links is not None
    assert links.to("spring", "x").startswith("https://media.acme.example/media/spring/x?")


def test_two_homes_do_not_open_each_others_links(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        make_key(tmp_path / name)
    assert read_key(tmp_path / "one") != read_key(tmp_path / "two")


def test_of_many_that_make_the_key_at_once_all_have_the_same(tmp_path: Path) -> None:
    seen: list[bytes] = []
    gate = threading.Barrier(16)

    def make() -> None:
        gate.wait()
        make_key(tmp_path)
        seen.append(read_key(tmp_path))

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 16
    assert len(set(seen)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


_MAKES_A_KEY_WITHOUT_HARD_LINKS = """
import errno, os, sys
from pathlib import Path
from sora_pipeline.media_server.keys import make_key, read_key

def unsupported(*_):
    raise OSError(int(sys.argv[2]), os.strerror(int(sys.argv[2])))

os.link = unsupported
make_key(Path(sys.argv[1]))
print(read_key(Path(sys.argv[1])).hex())
"""


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_file_systems_without_hard_links_have_one_key_for_all_processes(tmp_path: Path, code: int) -> None:
    command = [sys.executable, "-c", _MAKES_A_KEY_WITHOUT_HARD_LINKS, str(tmp_path), str(code)]
    with (tmp_path / f"{KEY_FILE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes = [Popen(command, stdout=PIPE, text=True) for _ in range(2)]
        while len(list(tmp_path.glob(f"{KEY_FILE}.*"))) < 3 and None in [each.poll() for each in processes]:
            time.sleep(0.01)  # until each has a key of its own that it would give the name to
        assert not (tmp_path / KEY_FILE).exists()
    keys = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert keys == {read_key(tmp_path).hex()}
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    make_key(tmp_path)
    assert keys == {read_key(tmp_path).hex()}
    assert {path.name for path in tmp_path.iterdir()} == {KEY_FILE, f"{KEY_FILE}.lock"}


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31, "é"])
def test_a_damaged_key_is_one_sentence_and_fails_no_clip(home: Path, content: str) -> None:
    (home / KEY_FILE).write_text(content)
    with pytest.raises(MediaKeyError, match=r"media\.key cannot be used"):
        read_key(home)
    assert media_links(Settings(), home) is None


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("s3://acme/out/a b.mp4", "https://s3.console.aws.amazon.com/s3/object/acme?prefix=out%2Fa%20b.mp4"),
        ("gs://acme/out/a.mp4", "https://storage.cloud.google.com/acme/out/a.mp4"),
        (
            "abfs://clips@acme.dfs.core.windows.net/a.mp4",
            "https://acme.blob.core.windows.net/clips/a.mp4",
        ),
        ("abfs://clips/a.mp4", None),
        ("/out/a.mp4", None),
        ("sftp://acme/a.mp4", None),
        ("s3://acme", None),
    ],
)
def test_an_object_store_has_a_page_for_each_object(uri: str, link: str | None) -> None:
    assert object_link(uri) == link


def test_no_page_is_guessed_where_s3_is_not_amazons(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as variable:
        variable.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
        assert object_link("s3://acme/a.mp4") is None
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9000"})
    assert object_link("s3://acme/a.mp4") is None
    monkeypatch.setitem(
        fsspec.config.conf, "s3", {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9000"}}
    )
    assert object_link("s3://acme/a.mp4") is None


@pytest.mark.parametrize(
    ("output", "production", "address"),
    [
        ("s3://acme/clips", "s3://acme/clips/our spring", "https://cdn.example/v/our%20spring"),
        ("s3://acme", "s3://acme/spring/", "https://cdn.example/v/spring"),
        ("/srv/clips/", "/srv/clips", "https://cdn.example/v"),
        ("s3://acme/clips", "s3://acme/clips-of-others/spring", None),
        ("s3://acme/clips", "gs://acme/clips/spring", None),
    ],
)
def test_what_lies_below_the_output_is_public_where_that_is_said(
    output: str, production: str, address: str | None
) -> None:
    assert public_address(Settings(output=output, public_url="https://cdn.example/v/"), production) == address
    assert public_address(Settings(output=output), production) is None
