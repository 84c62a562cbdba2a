"""A production whose manifest, images and output are on S3, by the command that people use."""

import io
import json
from pathlib import Path
from urllib.parse import parse_qs

import pyarrow.parquet as pq
import pytest
from sqlalchemy import create_engine

from sora_pipeline.ledger.schema import metadata
from sora_pipeline_tests.conftest import command, url_of_ledger
from sora_pipeline_tests.object_stores.s3 import BUCKET, SECRET, ObjectStore

pytestmark = pytest.mark.services
IMAGE = Path(__file__).parents[2] / "data" / "images" / "boat.png"
CLIPS = 40


LISTED = {"spring/", "spring/.snapshots/", "spring/gallery/"}
"""The top of the output, and folders that hold little whatever the number of clips."""


def listings(s3: ObjectStore) -> list[str]:
    """The folders that were listed; asking whether one object is there lists one name at most."""
    asked = [parse_qs(query) for method, path, query in s3.asked if method == "GET" and path == f"/{BUCKET}"]
    listed = [each for each in asked if each.get("max-keys") != ["1"]]
    assert all(each["delimiter"] == ["/"] for each in listed), "what lies deeper comes along"
    return [each["prefix"][0] for each in listed]


def test_everything_is_on_s3_and_no_folder_of_clips_is_ever_listed(
    s3: ObjectStore, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_SANDBOX_RENDER_S", "0.4")
    monkeypatch.setenv("SORA_PUBLIC_URL", f"{s3.url}/{BUCKET}")
    monkeypatch.setenv("SORA_OUTPUT", f"s3://{BUCKET}")
    s3.put("in/pictures/boat.png", IMAGE.read_bytes())
    images = {0: "pictures/boat.png", 1: f"s3://{BUCKET}/in/pictures/boat.png"}
    rows = [f"c{number},a boat,{images.get(number, '')},1280x720" for number in range(CLIPS)]
    manifest = s3.put("in/spring.csv", "\n".join(["clip_id,prompt,image,size", *rows]).encode())
    s3.asked.clear()

    done = command("run", manifest)

    assert done.returncode == 0, done.stderr
    table = pq.read_table(io.BytesIO(_object(s3, "spring/metadata.parquet"))).to_pylist()
    assert [row["status"] for row in table] == ["delivered"] * CLIPS
    assert sum(row["image_sha256"] is not None for row in table) == len(images)
    assert set(listings(s3)) <= LISTED
    assert len(listings(s3)) < CLIPS, listings(s3)
    told = json.loads(command("gallery", "--json", "--no-open").stdout)
    assert told["gallery"] == f"{s3.url}/{BUCKET}/spring/gallery.html"
    _found_nowhere(SECRET, home, s3)


def _found_nowhere(secret: str, home: Path, s3: ObjectStore) -> None:
    """Neither in the ledger, nor in what Dagster keeps in the home, nor in the output."""
    engine = create_engine(url_of_ledger(home))
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            assert secret not in repr(connection.execute(table.select()).all()), table.name
    engine.dispose()
    for path in home.rglob("*"):
        assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    for name in s3.names("spring/"):
        assert secret.encode() not in _object(s3, name), name


def _object(s3: ObjectStore, name: str) -> bytes:
    content: bytes = s3.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
    return content
