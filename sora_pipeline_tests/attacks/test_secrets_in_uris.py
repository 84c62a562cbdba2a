"""Passwords and signatures in the addresses of manifests, outputs, images, ledgers and providers: who gets to see them."""

import io
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sora_pipeline.cli.output import print_json
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.names import PipelineNames
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline.production.naming import ProductionRequest
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.settings import Settings, SettingsError
from sora_pipeline.uris import Uri
from sora_pipeline_tests.assets.conftest import Studio, sentence_of
from sora_pipeline_tests.automation.conftest import Daemon
from sora_pipeline_tests.conftest import Sandbox, command, lose_ledger, write_manifest

SECRET = "s3cr3t"


# ---- a host that wants to see the secrets


class Handler(BaseHTTPRequestHandler):
    def __init__(self, host: "Host", *args: Any) -> None:
        self.host = host
        super().__init__(*args)

    def do_GET(self) -> None:
        name, _, query = self.path.lstrip("/").partition("?")
        self.host.asked.append((name, query, self.headers.get("Authorization")))
        content = self.host.files.get(name)
        status = 404 if content is None else 200 if SECRET in query else 403
        self.send_response(status)
        body = content if status == 200 and content else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass
class Host:
    """Gives a file only to those whose query holds a signature."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def uri(self, name: str, parts: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}{parts}"


@contextmanager
def running_host() -> Iterator[Host]:
    host = Host()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, host))
    host.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def host() -> Iterator[Host]:
    with running_host() as host:
        picture = io.BytesIO()
        Image.new("RGB", (720, 1280), "red").save(picture, "PNG")
        host.files["cup.png"] = picture.getvalue()
        yield host


# ---- everything that was written


def leaks(folder: Path) -> list[str]:
    """Files that hold a secret, databases and Parquet read as what they are."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and in_file(path)]


def in_file(path: Path) -> bool:
    content = path.read_bytes()
    if SECRET.encode() in content:
        return True
    if content.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as database:
            return any(SECRET in line for line in database.iterdump())
    if content.startswith(b"PAR1"):
        table = pq.read_table(path)
        return SECRET in str(table.to_pylist()) + str(table.schema.metadata)
    return False


def columns_with_secrets(ledger: Path) -> set[str]:
    found = set()
    with closing(sqlite3.connect(ledger)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            rows = database.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in rows.description]
            for row in rows:
                found |= {
                    f"{table}.{name}" for name, cell in zip(names, row, strict=True) if SECRET in str(cell)
                }
    return found


# What is in a PostgreSQL server is not among the files that are searched.
@pytest.mark.parametrize("postgres_url", ["sqlite"], indirect=True)
@pytest.mark.timeout(700)
def test_a_whole_production_shows_no_secret_of_manifest_and_images(
    home: Path, sandbox: Sandbox, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BASE_URL", sandbox.url)
    monkeypatch.setenv("SORA_API_KEY", sandbox.endpoint.api_key)
    image = partial(host.uri, "cup.png")
    rows = [
        {"clip_id": "good", "prompt": "a cup", "image": image(f"?sig={SECRET}-1#{SECRET}-2")},
        {"clip_id": "refused", "prompt": "[sandbox:policy] a cup", "image": image(f"?token={SECRET}-3")},
        {
            "clip_id": "late",
            "prompt": "[sandbox:policy-late] a cup",
            "image": image(f"?X-Amz-Signature={SECRET}"),
        },
        {"clip_id": "beside", "prompt": "a cup", "image": f"cup.png?sig={SECRET}-4"},
        {"clip_id": "missing", "prompt": "a cup", "image": host.uri("none.png", f"?sig={SECRET}-5")},
        {"clip_id": "invalid", "prompt": "a cup", "image": image(f"?sig={SECRET}-6"), "duration": "5"},
        {"clip_id": "beside-invalid", "prompt": "a cup", "image": f"none.png?sig={SECRET}-7"},
    ]
    host.files["prompts.csv"] = write_manifest(tmp_path / "prompts.csv", rows).read_bytes()
    (tmp_path / "prompts.csv").unlink()
    signed = f"http://me:{SECRET}-8@127.0.0.1:{host.port}/prompts.csv?X-Amz-Signature={SECRET}-9#{SECRET}-10"
    monkeypatch.setenv("SORA_MANIFEST", signed)

    said = [command("check", signed), command("run", signed, "--timeout", "300")]
    assert said[-1].returncode == 1, said[-1].stdout + said[-1].stderr
    output = tmp_path / "out" / "prompts"
    statuses = {
        row["clip_id"]: row["status"] for row in pq.read_table(output / "metadata.parquet").to_pylist()
    }
    assert statuses == {
        **dict.fromkeys(["good", "beside"], "delivered"),
        **dict.fromkeys(["refused", "late"], "failed"),
        **dict.fromkeys(["missing", "invalid", "beside-invalid"], "invalid"),
    }
    assert ("prompts.csv", f"X-Amz-Signature={SECRET}-9") in {asked[:2] for asked in host.asked}
    assert any(authorization for name, _, authorization in host.asked if name == "prompts.csv")

    # The failed rows name their images as they are shown; the ledger has the whole addresses.
    mended = (output / "failed.csv").read_text("utf-8-sig").replace("[sandbox:policy] ", "")
    assert "cup.png?***" in mended
    (tmp_path / "mended.csv").write_text(mended)
    said.append(command("run", str(tmp_path / "mended.csv"), "--timeout", "300", "--json"))
    statuses = {
        row["clip_id"]: row["status"] for row in pq.read_table(output / "metadata.parquet").to_pylist()
    }
    assert statuses["refused"] == "delivered", said[-1].stdout + said[-1].stderr

    said += [command("status"), command("status", "--json"), command("doctor"), command("costs")]
    said += [command("retry", "--clip", "late"), command("resume", "--timeout", "300")]
    assert columns_with_secrets(home / "ledger.db") == {
        "productions.manifest_uri",
        "clips.spec",
        "amendments.spec",
    }
    # What lies in the outputs and in Dagster's storage makes a ledger without secrets; reading the manifest brings them back.
    lose_ledger(home)
    said.append(command("ledger", "rebuild"))
    assert said[-1].returncode == 0, said[-1].stderr
    assert columns_with_secrets(home / "ledger.db") == set()
    billed = sandbox.billed
    said.append(command("run", signed, "--name", "prompts", "--timeout", "300"))
    assert sandbox.billed == billed
    assert {"productions.manifest_uri", "clips.spec"} <= columns_with_secrets(home / "ledger.db")
    for process in said:
        assert SECRET not in process.stdout + process.stderr, process.args
        assert "Traceback" not in process.stderr
    assert leaks(tmp_path / "out") == []
    assert {name for name in leaks(home) if not name.startswith("ledger.db")} == set()


def test_a_manifest_that_cannot_be_read_is_named_without_its_secrets(
    studio: Studio,
    daemon: Daemon,
    home: Path,
    host: Host,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for parts in (f"?sig={SECRET}", f"?sig=wrong#{SECRET}"):
        signed = f"http://me:{SECRET}@127.0.0.1:{host.port}/none.csv{parts}"
        monkeypatch.setenv("SORA_MANIFEST", signed)
        result = studio.materialize(["prompt_manifest"])
        assert not result.success
        assert "none.csv?***" in sentence_of(result)
        assert all(SECRET not in str(event) for event in result.all_events)
        logs = studio.instance.all_logs(result.run_id)
        assert all(SECRET not in dg.serialize_value(entry) for entry in logs)
        skipped = daemon.tick("manifest_file_sensor").skipped
        assert "none.csv?***" in skipped
        assert SECRET not in skipped


def test_objects_show_no_secret(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = f"https://me:{SECRET}@host/prompts.csv?sig={SECRET}#{SECRET}"
    settings = Settings(
        manifest=signed,
        ledger_url=f"postgresql+psycopg2://me:{SECRET}@host/ledger?password={SECRET}",
        notify_url=f"https://hooks/{SECRET}",
        api_key=SECRET,
        provider="gptproto",
    )
    assert settings.manifest is not None
    assert settings.manifest.reveal() == signed
    shown = f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}"
    shown += f"{ProductionRequest(Uri(signed))!r}{Uri(signed)!r}{Uri(signed):>200}"
    pipeline = VideoPipeline("acme", manifest=signed, api_key=SECRET, provider="gptproto")
    definitions = pipeline.definitions()
    shown += repr(vars(pipeline)) + repr(PipelineRuntime(PipelineNames("acme"), settings).settings)
    for part in [*(definitions.sensors or []), *(definitions.schedules or [])]:
        shown += (
            str(part.description) if isinstance(part, dg.SensorDefinition | dg.ScheduleDefinition) else ""
        )
    assert "prompts.csv?***" in shown
    assert SECRET not in shown


@pytest.mark.parametrize("field", ["output", "base_url", "ui_url"])
@pytest.mark.parametrize("place", ["me:{}@host/a", "host/a?sig={}", "host/a#{}", "{}@host/a"])
def test_addresses_that_are_shown_everywhere_must_hold_no_secret(
    home: Path, field: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"https://{place.format(SECRET)}"
    for given in ({}, {field: address}):
        monkeypatch.setenv(f"SORA_{field.upper()}", address)
        with pytest.raises(SettingsError, match="must hold no") as caught:
            Settings(**given)
        assert SECRET not in str(caught.value)
        assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    "field", ["base_url", "ui_url", "manifest", "output", "ledger_url", "max_in_flight", "unheard_of"]
)
def test_a_wrong_setting_is_named_without_its_secrets(home: Path, field: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**{field: f"ftp://me:{SECRET}@host/x?sig={SECRET}", "model": ""})
    assert SECRET not in str(caught.value)


def test_an_output_with_a_password_is_refused_before_anything_is_kept(
    studio: Studio,
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    path = write_manifest(tmp_path / "prompts.csv", [{"clip_id": "a", "prompt": "a fox"}])
    result = studio.read_file(path, output=f"sftp://me:{SECRET}@host/videos")
    assert "FSSPEC_SFTP_PASSWORD" in sentence_of(result)
    assert SECRET not in sentence_of(result)
    assert ledger.productions.all() == []
    for refused in (
        command("run", str(path), "--output", f"sftp://me:{SECRET}@host/videos"),
        command("check", str(path), "--output", f"s3://bucket/videos?sig={SECRET}"),
        command("adopt", f"sftp://me:{SECRET}@host/videos"),
        command("ledger", "rebuild", "--output", f"sftp://me:{SECRET}@host/videos"),
    ):
        assert refused.returncode == 2, refused
        assert SECRET not in refused.stdout + refused.stderr
        assert "FSSPEC_SFTP_PASSWORD" in refused.stderr


@pytest.mark.parametrize("postgres_url", ["sqlite"], indirect=True)
def test_an_output_that_an_earlier_version_kept_with_its_password_is_read_without(
    ledger: Ledger, production: Any, home: Path
) -> None:
    production([{"clip_id": "a", "prompt": "a fox"}])
    with closing(sqlite3.connect(home / "ledger.db")) as database:
        database.execute("UPDATE productions SET output_uri = ?", [f"sftp://me:{SECRET}@host/videos"])
        database.commit()
    assert ledger.productions.get("prompts").output_uri == "sftp://me@host/videos"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://me:{}@127.0.0.1:1/ledger",
        "postgresql+psycopg2://me@127.0.0.1:1/ledger?password={}",
        "postgresql+psycopg2://me@127.0.0.1:1/ledger?nonsense={}",
        "mysql://me:{}@host/ledger",
        "sqlite:////proc/none/ledger.db?password={}",
    ],
)
def test_a_ledger_that_cannot_be_opened_is_named_without_its_password(url: str) -> None:
    with pytest.raises(LedgerError) as caught:
        Ledger(url.format(SECRET))
    assert SECRET not in str(caught.value)


def test_what_serializes_a_uri_gets_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"uri": Uri(f"https://host/x?sig={SECRET}")})
    assert capsys.readouterr().out == '{\n  "uri": "https://host/x?***"\n}\n'
