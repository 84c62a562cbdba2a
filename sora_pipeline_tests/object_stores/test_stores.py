"""What an output is on S3, Google Cloud Storage and Azure, by their own protocols."""

import filecmp
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import httpx
import pytest
from fsspec.config import set_conf_env

from sora_pipeline import storage_drivers
from sora_pipeline.store import OutputStore, StoreError
from sora_pipeline_tests.object_stores.conftest import Place
from sora_pipeline_tests.object_stores.s3 import BUCKET, Lookalike, ObjectStore
from sora_pipeline_tests.object_stores.silent import SilentStore

pytestmark = pytest.mark.services
VIDEO = "videos/a/a-1-0.mp4"
IN_PARTS = 101 * 2**20
"""Bytes that every driver sends in several parts."""


def media_type(place: Place, name: str) -> object:
    """What the storage says a file is; each driver has a name of its own for that."""
    found = place.store._fs.info(place.store._remote(name))
    settings = found.get("content_settings") or {}
    return found.get("ContentType") or found.get("contentType") or settings.get("content_type")


def test_what_is_written_is_read(place: Place) -> None:
    store = place.store
    assert not store.exists(VIDEO)
    assert store.names("videos/a") == []
    store.put_file(place.file(b"video"), VIDEO)
    store.replace_bytes("gallery.html", b"old")
    store.replace_bytes("gallery.html", b"new")
    store.replace_written("metadata.parquet", lambda stream: stream.write(b"rows"))
    assert (store.read_bytes(VIDEO), store.size(VIDEO), store.first_bytes(VIDEO, 2)) == (b"video", 5, b"vi")
    assert (store.read_bytes("gallery.html"), store.read_bytes("metadata.parquet")) == (b"new", b"rows")
    assert store.names("videos/a") == [VIDEO]
    store.remove("gallery.html")
    assert not store.exists("gallery.html")
    with pytest.raises(FileNotFoundError):
        store.read_bytes("gallery.html")


def test_a_video_is_never_written_over(place: Place) -> None:
    store = place.store
    store.put_file(place.file(b"paid"), VIDEO)
    with pytest.raises(FileExistsError):
        store.put_file(place.file(b"other"), VIDEO)
    with pytest.raises(FileExistsError):
        store.create_bytes(VIDEO, b"other")
    assert store.read_bytes(VIDEO) == b"paid"


def test_a_store_that_never_answers_an_upload_is_not_waited_for_without_end(
    no_stores: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paid video's run would hang, and look alive: the driver itself waits for ever."""
    monkeypatch.setattr(storage_drivers, "SILENT_S", 3.0)
    silent = SilentStore()
    environment = {
        "AWS_ENDPOINT_URL": silent.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "video.mp4").write_bytes(b"video")
    store = OutputStore("s3://videos/out")
    for put in (store.put_file, store.replace_file):
        with pytest.raises(
            StoreError, match=r"a-1-0\.mp4 could not be written: .*has not taken it within 3 s"
        ):
            put(tmp_path / "video.mp4", VIDEO)
    with pytest.raises(
        StoreError, match=r"gallery\.html could not be written: .*has not taken it within 3 s"
    ):
        store.replace_bytes("gallery.html", b"<html></html>")
    assert silent.uploads >= 3
    silent.close()


def test_of_many_at_the_same_moment_one_stores_its_video(place: Place) -> None:
    files = [place.file(b"%d" % number) for number in range(6)]
    at_once = threading.Barrier(len(files))

    def put(file: Path) -> bytes | None:
        at_once.wait()
        try:
            place.store.put_file(file, VIDEO)
        except FileExistsError:
            return None
        return file.read_bytes()

    with ThreadPoolExecutor(len(files)) as pool:
        stored = [content for content in pool.map(put, files) if content is not None]
    assert stored == [place.store.read_bytes(VIDEO)]


@pytest.mark.parametrize(
    ("place", "size"),
    # fake-gcs-server takes no notice of conditions on uploads in parts.
    [("s3", 1), ("s3", IN_PARTS), ("azure", 1), ("azure", IN_PARTS), ("google", 1)],
    indirect=["place"],
)
def test_storage_itself_refuses_a_name_that_is_taken(place: Place, size: int) -> None:
    """Whatever this process believed when it began to send."""
    place.store.put_file(place.file(b"paid"), VIDEO)
    late = place.file(b"")
    os.truncate(late, size)
    with pytest.raises(FileExistsError):
        place.store._fs.put_file(str(late), place.store._remote(VIDEO), mode="create")
    assert place.store.read_bytes(VIDEO) == b"paid"


def test_large_videos_arrive_whole(place: Place) -> None:
    large = place.file(b"")
    os.truncate(large, IN_PARTS)
    place.store.put_file(large, VIDEO)
    assert place.store.size(VIDEO) == IN_PARTS
    copy = place.file(b"")
    place.store.copy_to(VIDEO, copy)
    assert filecmp.cmp(large, copy, shallow=False)


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_large_videos_go_in_parts(s3: ObjectStore, place: Place) -> None:
    large = place.file(b"")
    os.truncate(large, IN_PARTS)
    place.store.put_file(large, VIDEO)
    assert sum("partNumber=" in query for _, _, query in s3.asked) > 1


def test_files_have_their_media_types_so_that_browsers_show_them(place: Place) -> None:
    place.store.put_file(place.file(b"video"), VIDEO)
    place.store.replace_bytes("gallery.html", b"<!doctype html>")
    assert media_type(place, VIDEO) == "video/mp4"
    place.store.replace_bytes("notes.unknown-kind", b"")
    assert media_type(place, "gallery.html") == "text/html"
    assert media_type(place, "notes.unknown-kind") != "text/html"


@pytest.mark.parametrize("place", ["s3", "azure"], indirect=True)
def test_a_presigned_address_opens_the_video(place: Place) -> None:
    place.store.put_file(place.file(b"video"), VIDEO)
    address = place.store.presigned(VIDEO, 60)
    answer = httpx.get(address, trust_env=False)
    assert (answer.status_code, answer.content) == (200, b"video")
    assert answer.headers["content-type"] == "video/mp4"
    assert httpx.get(address, headers={"Range": "bytes=1-2"}, trust_env=False).content == b"id"


@pytest.mark.parametrize("place", ["azure"], indirect=True)  # moto checks no signatures
def test_a_presigned_address_opens_nothing_else(place: Place) -> None:
    place.store.put_file(place.file(b"video"), VIDEO)
    place.store.replace_bytes("metadata.parquet", b"rows")
    address = place.store.presigned(VIDEO, 60)
    assert httpx.get(address.replace(VIDEO, "metadata.parquet"), trust_env=False).status_code == 403


@pytest.mark.parametrize("place", ["google"], indirect=True)
def test_an_account_without_a_key_of_its_own_can_sign_nothing_and_says_so(place: Place) -> None:
    with pytest.raises(StoreError, match=r"web address.*private key"):
        place.store.presigned(VIDEO, 60)


@pytest.mark.parametrize("place", ["s3"], indirect=True)
@pytest.mark.parametrize("lookalike", ["terse", "refuses conditions", "ignores conditions"])
def test_lookalikes_of_s3_keep_what_is_there(s3: ObjectStore, place: Place, lookalike: Lookalike) -> None:
    s3.lookalike = lookalike
    place.store.put_file(place.file(b"paid"), VIDEO)
    with pytest.raises(FileExistsError):
        place.store.put_file(place.file(b"other"), VIDEO)
    assert place.store.read_bytes(VIDEO) == b"paid"


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_a_condition_in_words_that_no_driver_knows_is_understood(s3: ObjectStore, place: Place) -> None:
    """Both look, and find the name free, before either has sent anything."""
    s3.lookalike, s3.delay_s = "terse", 0.5
    files = [place.file(b"one"), place.file(b"two")]

    def put(file: Path) -> type[Exception] | None:
        try:
            place.store.put_file(file, VIDEO)
        except Exception as error:
            return type(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(put, files)) == {None, FileExistsError}


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_encryption_is_what_the_drivers_variables_say(
    s3: ObjectStore, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/videos"}
    monkeypatch.setenv("FSSPEC_S3", json.dumps({"s3_additional_kwargs": encrypted}))
    configured: dict[str, dict[str, object]] = {}
    set_conf_env(configured)  # as fsspec does when it is imported
    monkeypatch.setitem(fsspec.config.conf, "s3", configured["s3"])
    store = OutputStore(f"{place.store.uri}/encrypted")
    large = place.file(b"")
    os.truncate(large, IN_PARTS)
    store.put_file(place.file(b"video"), VIDEO)
    store.put_file(large, "videos/a/large.mp4")
    store.replace_bytes("gallery.html", b"<!doctype html>")
    for name in (VIDEO, "videos/a/large.mp4", "gallery.html"):
        found = s3.client.head_object(
            Bucket=BUCKET, Key=f"{store.uri.removeprefix(f's3://{BUCKET}/')}/{name}"
        )
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/videos")
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in store.presigned(VIDEO, 60), "all that opens such an object"
