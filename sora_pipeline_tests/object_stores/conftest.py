"""Object stores on this machine, each empty for every test."""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
from fsspec.core import url_to_fs

from sora_pipeline.store import OutputStore
from sora_pipeline_tests.object_stores.emulators import running_azure, running_google
from sora_pipeline_tests.object_stores.s3 import BUCKET, ObjectStore

SCHEMES = {"s3": "s3", "google": "gs", "azure": "abfs"}
OF_DRIVERS = ("AWS_", "FSSPEC_", "AZURE_", "GOOGLE_", "GCSFS_", "STORAGE_")


@pytest.fixture
def no_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """No store is named by the machine's own environment, nor known from another test."""
    for name in list(os.environ):
        if name.startswith(OF_DRIVERS):
            monkeypatch.delenv(name)
    for scheme in SCHEMES.values():
        fsspec.get_filesystem_class(scheme).clear_instance_cache()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[ObjectStore]:
    server = ObjectStore()
    yield server
    server.close()


@pytest.fixture(scope="session")
def google_server() -> Iterator[dict[str, str]]:
    with running_google() as environment:
        yield environment


@pytest.fixture(scope="session")
def azure_server() -> Iterator[dict[str, str]]:
    with running_azure() as environment:
        yield environment


@pytest.fixture
def s3(no_stores: None, s3_server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An S3 as this process's environment names it."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    s3_server.asked.clear()
    yield s3_server
    s3_server.lookalike, s3_server.delay_s = "", 0.0
    s3_server.empty()


@dataclass
class Place:
    """A store that is empty.

    Attributes:
        kind: ``s3``, ``google`` or ``azure``.
        store: The output.
        folder: Where files can be made.
    """

    kind: str
    store: OutputStore
    folder: Path

    def file(self, content: bytes) -> Path:
        path = self.folder / f"{uuid.uuid4().hex}.mp4"
        path.write_bytes(content)
        return path


@pytest.fixture(params=sorted(SCHEMES))
def place(
    no_stores: None, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Place:
    """One store after the other."""
    if request.param == "s3":
        request.getfixturevalue("s3")
    else:
        for name, value in request.getfixturevalue(f"{request.param}_server").items():
            monkeypatch.setenv(name, value)
    uri = f"{SCHEMES[request.param]}://{BUCKET}/{uuid.uuid4().hex}/out put"
    if request.param == "azure":
        driver, _ = url_to_fs(uri)
        if not driver.exists(BUCKET):
            driver.mkdir(BUCKET)
    return Place(request.param, OutputStore(uri), tmp_path)
