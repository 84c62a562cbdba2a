"""An output that another ledger made is taken over, and nothing in it is paid for again."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from sora_pipeline import runtime
from sora_pipeline.cli.app import app
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import GENERATIONS_JOB, PUBLISH_JOB, RANGE_END_TAG, RANGE_START_TAG, VIDEOS_JOB
from sora_pipeline.production.ownership import OWNER, OutputOwnedError
from sora_pipeline.store import StoreError
from sora_pipeline_tests.automation.conftest import Daemon, daemon
from sora_pipeline_tests.conftest import Producer, Rows, Sandbox, key, latest, refusal, standing, states

__all__ = ["daemon"]

ROWS: Rows = [
    {"clip_id": "fine", "prompt": "a fox"},
    {"clip_id": "gone", "prompt": "a hare"},
    {"clip_id": "stuck", "prompt": "[sandbox:stuck] a boat"},
    {"clip_id": "lost", "prompt": "[sandbox:lost-answer] a bear"},
    {"clip_id": "fresh", "prompt": "a whale"},
]
IDS = [str(row["clip_id"]) for row in ROWS]
EXPECTED = {
    "fine": "collected",
    "gone": "collected",
    "stuck": "in_flight",
    "lost": "ambiguous",
    "fresh": None,
}


@pytest.fixture
def output(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """An output with clips of every fate, which the ledger of the home knows nothing of."""
    other = Ledger(f"sqlite:///{home}/other.db")  # no copy of an empty one: those have one name
    monkeypatch.setattr(runtime, "open_ledger", lambda url: other)
    made = Producer(production.folder, other, daemon.instance)(ROWS)
    for job, last in ((GENERATIONS_JOB, "lost"), (VIDEOS_JOB, "gone")):
        tags = {RANGE_START_TAG: key("fine"), RANGE_END_TAG: key(last)}
        daemon.run(dg.RunRequest(job_name=job, tags=tags))
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    assert states(other, IDS) == EXPECTED
    other.close()
    monkeypatch.setattr(runtime, "open_ledger", lambda url: ledger)
    return Path(made.output_uri)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def adopted(*arguments: str) -> dict[str, Any]:
    result = invoke("adopt", "--json", *arguments)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_adopted_output_goes_on_and_nothing_in_it_is_paid_again(
    output: Path, daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox
) -> None:
    billed = sandbox.billed
    with refusal(OutputOwnedError, f"sora-pipeline adopt {output}"):
        production(ROWS)

    said = adopted(str(output))
    assert states(ledger, IDS) == EXPECTED
    (facts,) = said["productions"]
    assert facts["counts"] == {"delivered": 2, "in_flight": 1, "ambiguous": 1, "pending": 1}
    assert (facts["production"], said["attempts"], said["spent_usd"]) == ("prompts", 4, pytest.approx(4.8))
    assert "do not run it there any more" in said["notes"][-1]
    assert json.loads((output / OWNER).read_text())["ledger_id"] == ledger.ledger_id

    assert daemon.tick("dispatch_sensor").requests == [], "nothing before somebody has the manifest read"
    production(ROWS)
    assert ledger.clips.pending(3) == [key("fresh")]
    assert [request.job_name for request in daemon.tick("dispatch_sensor").requests] == [GENERATIONS_JOB]
    assert "rendering" in daemon.tick("poll_sensor").skipped
    assert daemon.run(dg.RunRequest(), PUBLISH_JOB).success
    rows = pq.read_table(output / "metadata.parquet").to_pylist()
    assert {row["clip_id"]: row["status"] for row in rows} == {
        "fine": "delivered",
        "gone": "delivered",
        "stuck": "in_flight",
        "lost": "ambiguous",
        "fresh": "pending",
    }
    assert sandbox.billed == billed


def test_adopted_video_whose_file_is_gone_is_asked_for_again(output: Path, ledger: Ledger) -> None:
    for video in (output / "videos" / "gone").iterdir():
        video.unlink()
    adopted(str(output))
    assert latest(ledger, "gone").state == "in_flight"
    assert latest(ledger, "gone").submission.prediction_id
    assert latest(ledger, "fine").state == "collected"


@pytest.mark.parametrize("left", ["metadata.parquet", ".snapshots", ".sidecars"])
def test_output_without_an_owner_is_adopted_from_whatever_it_holds(
    output: Path, ledger: Ledger, production: Producer, left: str
) -> None:
    (output / OWNER).unlink()
    for name in {"metadata.parquet", ".snapshots"} - {left}:
        path = output / name
        for file in path.iterdir() if path.is_dir() else [path]:
            file.unlink()
    adopted(str(output), "--name", "prompts")
    production(ROWS, name="prompts")  # which file it was made from is known from the snapshots alone
    # Nothing but the videos is known where the table is gone; the command says so.
    known = ("fine", "gone", "stuck", "lost") if left == "metadata.parquet" else ("fine", "gone")
    assert ledger.clips.pending(3) == [key(clip_id) for clip_id in IDS if clip_id not in known]
    assert standing(ledger, "fine").delivered is not None


def test_output_of_the_version_before_is_adopted(output: Path, ledger: Ledger, production: Producer) -> None:
    _make_old(output)
    adopted(str(output))
    assert states(ledger, IDS) == EXPECTED
    production(ROWS)
    assert ledger.clips.pending(3) == [key("fresh")]


def test_name_that_is_taken_is_refused_with_what_to_do(
    output: Path, ledger: Ledger, production: Producer
) -> None:
    other = production([{"clip_id": "fine", "prompt": "another fox"}], name="prompts", output="elsewhere")
    refused = invoke("adopt", str(output))
    assert refused.exit_code == 2
    assert f"sora-pipeline adopt {output} --name" in refused.stderr
    assert [each.production_id for each in ledger.productions.all()] == ["prompts"]
    assert json.loads((output / OWNER).read_text())["ledger_id"] != ledger.ledger_id

    adopted(str(output), "--name", "spring")
    assert latest(ledger, "fine", "spring").state == "collected"
    assert ledger.clips.pending(3, other.production_id) == [key("fine")]
    again = invoke("adopt", str(output))
    assert again.exit_code == 2
    assert "belongs to the production spring of this ledger already" in again.stderr


@pytest.mark.parametrize(
    ("name", "why"), [("", "there is nothing to take over"), ("a:b", "cannot be the name")]
)
def test_what_cannot_be_adopted_is_refused(
    home: Path, ledger: Ledger, tmp_path: Path, name: str, why: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if name:
        table = pa.table({"status": pa.array([], pa.string())})
        pq.write_table(table, folder / "metadata.parquet")
        (folder / ".sidecars" / "a").mkdir(parents=True)
    result = invoke("adopt", str(folder), *(["--name", name] if name else []))
    assert result.exit_code == 2
    assert why in result.stderr
    assert ledger.productions.all() == []


def _make_old(output: Path) -> None:
    """The output as the version before would have written it: wire formats in fingerprints, and no productions."""
    from sora_pipeline.ledger.migrations.earlier_fingerprints import fingerprint_0002

    table = pq.read_table(output / "metadata.parquet")
    rows = table.to_pylist()
    old = {}
    for row in rows:
        spec = {name: row[name] for name in ("prompt", "image_sha256", "duration", "size", "model")}
        old[row["fingerprint"]] = fingerprint_0002(spec, "sandbox")
        row["fingerprint"] = old[row["fingerprint"]]
        row["provider"] = "sandbox"
    written = pa.Table.from_pylist(rows, schema=table.schema).drop_columns(["production", "account"])
    pq.write_table(written, output / "metadata.parquet")
    for path in (output / ".sidecars").glob("*/*.json"):
        sidecar = json.loads(path.read_text())
        sidecar["fingerprint"] = old[sidecar["fingerprint"]]
        for name in ("production", "account", "simulated"):
            del sidecar[name]
        path.write_text(json.dumps(sidecar))
    for path in (output / ".snapshots").iterdir():
        snapshot = pq.read_table(path)
        at = snapshot.schema.get_field_index("simulated")
        providers = pa.array(["sandbox"] * len(snapshot))
        snapshot = snapshot.set_column(at, "provider", providers)
        metadata = {**snapshot.schema.metadata, b"sora_pipeline.snapshot_version": b"1"}
        pq.write_table(snapshot.replace_schema_metadata(metadata), path)
    (output / OWNER).unlink()


def test_what_cannot_be_believed_is_left_out_by_name_and_the_rest_is_taken_over(output: Path) -> None:
    """A sidecar with an attempt of 10**30 took all memory once, and a row without a cost ended in a traceback."""
    table = pq.read_table(output / "metadata.parquet")
    rows = {row["clip_id"]: row for row in table.to_pylist()}
    rows["lost"]["cost_usd"] = float("nan")
    rows["gone"]["file_name"] = "../../gone.mp4"
    pq.write_table(pa.Table.from_pylist(list(rows.values()), table.schema), output / "metadata.parquet")
    (sidecar,) = (output / ".sidecars" / "gone").glob("*.json")
    sidecar.write_text(json.dumps({**json.loads(sidecar.read_text()), "attempt": 10**30}))
    facts = adopted(str(output))
    (note,) = (note for note in facts["notes"] if "left out" in note)
    for words in ("(clip 'lost'): cost_usd", "(clip 'gone'): file_name", f"{sidecar.name}: attempt"):
        assert words in note, note
    assert facts["attempts"] == 4, "fine and stuck, and two that may have been paid for"


def test_another_data_set_is_no_output(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dataset"
    folder.mkdir()
    pq.write_table(pa.table({"file_name": ["a.mp4"], "text": ["a fox"]}), folder / "metadata.parquet")
    with refusal(StoreError, "metadata.parquet is no output manifest of sora-pipeline"):
        CliRunner().invoke(app, ["adopt", str(folder)], catch_exceptions=False)
