"""A home with a production of any size in it, nearly all of it delivered, without making each video.

One clip is really produced. The manifest of all the others is really read, and the one clip's attempt and files are then copied to
them within the database and by hard links. Whatever is counted is counted by reading the manifest once more.
"""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import FromClause, RowMapping, func, insert, literal, select

from benchmarks.provider_client import SUBMIT_PATH
from benchmarks.trial import write_manifest
from sora_pipeline.clip import clip_key, split_clip_key
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.ledger.productions import mark_changed
from sora_pipeline.ledger.schema import attempts, batches, clips
from sora_pipeline.names import MANIFEST_JOB, PUBLISH_JOB
from sora_pipeline.runtime import PipelineRuntime

TEMPLATE, NAME = "template", "growth"
BATCH = 50
LONG_S = 3600.0


class FullHomeError(Exception):
    """Raised where the home could not be filled; the text says at what."""


class FullHome:
    """Fills the home that ``DAGSTER_HOME`` names, and does in this process what its daemon would.

    Args:
        folder: Of manifests.
        size: How many clips the production has.
        instance: Dagster's storage of the home.
        definitions: The code location.
        runtime: Of its pipeline.
    """

    def __init__(
        self,
        folder: Path,
        size: int,
        *,
        instance: dg.DagsterInstance,
        definitions: dg.Definitions,
        runtime: PipelineRuntime,
    ) -> None:
        self._folder = folder
        self._size = size
        self._instance = instance
        self._definitions = definitions
        self._runtime = runtime
        self._manifest = write_manifest(folder, size, NAME)
        self._cursors: dict[str, str | None] = {}

    @property
    def ledger(self) -> Ledger:
        """The ledger of the home."""
        return self._runtime.ledger

    @property
    def output(self) -> Path:
        """Where the production goes."""
        return Path(self.ledger.productions.get(NAME).output_uri)

    @property
    def sensors(self) -> Sequence[str]:
        """The names of those that a daemon evaluates by itself."""
        running = dg.DefaultSensorStatus.RUNNING
        return [
            each.name
            for each in self._definitions.sensors or []
            if getattr(each, "default_status", None) is running
        ]

    def produce_template(self) -> None:
        """Really produce one clip.

        Raises:
            FullHomeError: it failed.
        """
        manifest = write_manifest(self._folder, 1, TEMPLATE)
        command = [str(Path(sys.executable).with_name("sora-pipeline")), "run", str(manifest), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FullHomeError(f"the one clip that is really made was not: {done.stderr.strip()[-500:]}")

    def read(self) -> None:
        """Read the manifest, in a run in this process."""
        config = {"manifest": str(self._manifest), "production": NAME}
        self._run(MANIFEST_JOB, {"ops": {"prompt_manifest": {"config": config}}})

    def publish(self, requests: Sequence[dg.RunRequest]) -> None:
        """Write output manifests as the publish sensor asked for it, in runs in this process.

        Raises:
            FullHomeError: it asked for none, or a run failed.
        """
        if not requests:
            raise FullHomeError("the publish sensor asked for no run although the production has changed")
        for request in requests:
            self._run(PUBLISH_JOB, request.run_config, request.tags)

    def tick(self, sensor: str) -> Sequence[dg.RunRequest]:
        """Evaluate a sensor as a daemon does, without launching anything; the runs that it asked for."""
        with dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursors.get(sensor),
            definitions=self._definitions,
            resources=dict(self._definitions.resources or {}),
            sensor_name=sensor,
        ) as context:
            data = self._definitions.resolve_sensor_def(sensor).evaluate_tick(context)
        self._cursors[sensor] = data.cursor or self._cursors.get(sensor)
        return list(data.run_requests or [])

    def forget_what_was_planned(self) -> None:
        """Undo what ticks have planned and reserved for runs that nobody launches."""
        for attempt in self.ledger.attempts.live(AttemptState.RESERVED):
            self.ledger.attempts.release(attempt.attempt_id)
        with self.ledger.database.write() as connection:
            connection.execute(batches.delete())

    def deliver_all_but(self, left: int) -> None:
        """Copy the one clip's attempt and files to all clips but the last ones."""
        delivered = self._size - left
        with self.ledger.database.write() as connection:
            origin = select(attempts).where(attempts.c.production_id == TEMPLATE).limit(1)
            row = connection.execute(origin).mappings().one()
            copied = attempts.alias("copied")
            values = _copies(copied, split_clip_key(row["clip_key"])[1], str(self.output))
            whose = (
                clips.c.production_id == NAME,
                clips.c.position < delivered,
                copied.c.attempt_id == row["attempt_id"],
            )
            connection.execute(
                insert(attempts).from_select(list(values), select(*values.values()).where(*whose))
            )
        self._link(row, delivered)

    def put_in_flight(self, count: int, url: str, api_key: str) -> None:
        """Let the last clips really render at the provider, for long, each of them due to be asked for."""
        _ask(url, api_key, "PUT", "/sandbox/settings", {"render_s": LONG_S})
        ledger, account = self.ledger, self._runtime.account
        keys = [clip_key(NAME, clip_id) for clip_id in self._clip_ids()[-count:]]
        reserved = ledger.attempts.reserve(
            dict.fromkeys(keys, 1),
            account=account,
            batch_id="growth-in-flight",
            limits=Limits(max_in_flight=count + 1, max_attempts=3),
            lease_s=LONG_S,
            owner="growth",
        ).reserved
        for attempt in reserved:
            ledger.attempts.begin_submit(attempt.attempt_id, "growth", lease_s=LONG_S, request_summary={})
            order = {"prompt": attempt.clip_key, "duration": 4, "size": "720x1280"}
            prediction = _ask(url, api_key, "POST", SUBMIT_PATH, order)["data"]
            ledger.attempts.accept(
                attempt.attempt_id,
                prediction_id=prediction["id"],
                poll_url=prediction["urls"]["get"],
                provider_status=prediction["status"],
                model_returned=None,
                deadline_s=LONG_S,
                first_poll_s=0,
            )

    def fail_what_renders(self) -> None:
        """Let the last clips end without a video, so that nothing is left to be done."""
        for attempt in self.ledger.attempts.live(AttemptState.IN_FLIGHT):
            self.ledger.attempts.fail(
                attempt.attempt_id, "growth", "ended by the benchmark", retryable=False, reported=True
            )

    def change_one(self) -> None:
        """Let the production's output manifest be out of date by what was there already."""
        with self.ledger.database.write() as connection:
            mark_changed(connection, NAME, self.ledger.now())

    def _run(self, job_name: str, config: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> None:
        job = self._definitions.resolve_job_def(job_name)
        result = job.execute_in_process(
            run_config=config, tags=tags, instance=self._instance, raise_on_error=False
        )
        failed = [event.step_key for event in result.all_events if event.is_step_failure]
        if not result.success:
            raise FullHomeError(f"the job {job_name} failed at {', '.join(map(str, failed))}")

    def _clip_ids(self) -> list[str]:
        """Of the production, in the order of its manifest."""
        query = select(clips.c.clip_id).where(clips.c.production_id == NAME).order_by(clips.c.position)
        with self.ledger.database.read() as connection:
            return list(connection.execute(query).scalars())

    def _link(self, row: RowMapping, delivered: int) -> None:
        template_id = split_clip_key(row["clip_key"])[1]
        clip_ids = self._clip_ids()[:delivered]
        for name in (row["file_name"], row["poster_path"]):
            origin = Path(row["output_uri"]) / name
            for clip_id in clip_ids:
                link = self.output / name.replace(template_id, clip_id)
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(origin, link)


def _copies(copied: FromClause, template_id: str, output: str) -> dict[str, Any]:
    """What each column of a clip's attempt is, by the column's name, where ``copied`` is the one clip's."""

    def own_path(column: str) -> Any:
        return func.replace(copied.c[column], template_id, clips.c.clip_id)

    own = {
        "clip_key": clips.c.clip_key,
        "production_id": clips.c.production_id,
        "round": clips.c.round,
        "fingerprint": clips.c.fingerprint,
        "batch_id": literal("growth-").concat(clips.c.position / BATCH),
        "prediction_id": copied.c.prediction_id.concat(clips.c.position),
        "file_name": own_path("file_name"),
        "poster_path": own_path("poster_path"),
        "output_uri": literal(output),
    }
    names = [column.name for column in attempts.columns if column.name != "attempt_id"]
    return {name: own.get(name, copied.c[name]) for name in names}


def _ask(url: str, api_key: str, method: str, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the provider for something."""
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(content).encode(), headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        answered: dict[str, Any] = json.load(answer)
    return answered
