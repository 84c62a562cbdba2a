"""Why nothing happens to a production that has something to do, as far as it is the daemon's doing: for whoever waits."""

from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.errors import Reason
from sora_pipeline.headless.home import daemon_is_alive
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.ledger.batches import Batch
from sora_pipeline.ledger.pipelines import FRESH
from sora_pipeline.names import PipelineNames
from sora_pipeline.run_locks import RunProcess, process_of

if TYPE_CHECKING:
    import dagster as dg

SENSORS = ("manifest_request_sensor", "dispatch_sensor", "poll_sensor", "publish_sensor")
"""Those without which a production does not get on."""
_STOPPED = "STOPPED"
_OVER = (RunProcess.ENDED, RunProcess.KILLED)


def why_nothing_happens(
    instance: "dg.DagsterInstance", home: Path, ledger: Ledger, production: Production
) -> Reason | None:
    """Why nobody works for a production of the built-in pipeline; None: somebody does."""
    facts = {"manifest": production.manifest_uri, "production": production.production_id}
    if not daemon_is_alive(instance, home):
        if _runs_are_at_work(home, ledger, production.pipeline):
            return None
        return Reason(f"no Dagster daemon is at work on {home}: nothing goes on", "no_daemon", facts)
    if stopped := switched_off(instance, production.pipeline):
        sentence = f"a person has switched off in Dagster: {', '.join(stopped)}"
        return Reason(sentence, "sensors_off", facts)
    seen = ledger.pipelines.seen(production.pipeline)
    if seen is None or ledger.now() - seen.seen_at > FRESH:
        sentence = f"the Dagster daemon at work on {home} does not say that it works with this ledger"
        return Reason(sentence, "silent_daemon", facts)
    return None


def switched_off(instance: "dg.DagsterInstance", pipeline: str) -> list[str]:
    """Sensors of a pipeline that a person has switched off, of those without which nothing gets on."""
    wanted = {PipelineNames(pipeline).of(name) for name in SENSORS}
    states = instance.all_instigator_state()
    return sorted(
        state.instigator_name
        for state in states
        if state.status.value == _STOPPED and state.instigator_name in wanted
    )


def _runs_are_at_work(home: Path, ledger: Ledger, pipeline: str) -> bool:
    """Whether runs live that a command executes itself: its daemon comes later."""
    now, locks = ledger.now(), home / PipelineNames(pipeline).run_lock_folder

    def lives(batch: Batch) -> bool:
        # Its lease outlives a run that a person interrupted.
        over = batch.run_id is not None and process_of(locks, batch.run_id) in _OVER
        return batch.is_held(now) and not over

    return any(lives(batch) for batch in ledger.batches.unfinished(pipeline))
