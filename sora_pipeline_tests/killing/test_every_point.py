"""One production goes through every fault point there is, on a real daemon: nothing is paid twice, nothing is lost."""

import os
import signal
from pathlib import Path

import pytest

from sora_pipeline.production.retrying import retry_clips
from sora_pipeline_tests.conftest import QUICK, write_manifest
from sora_pipeline_tests.killing.points import POINTS, fired
from sora_pipeline_tests.killing.referee import violations
from sora_pipeline_tests.killing.stage import Stage, stage

CLIP_IDS = [f"clip-{number:02}" for number in range(12)]
SETTINGS = {"SORA_BATCH_SIZE": "6", "SORA_MAX_IN_FLIGHT": "12"}
CODE_SERVER_POINTS = ("after_reserve", "mid_poll", "code_server_while_collecting")


def restart_with_the_code_server(world: Stage, seen: set[str]) -> None:
    """Dagster replaces a code server that died within a minute; a service manager that watches it is quicker."""
    for point in set(CODE_SERVER_POINTS) & set(fired(world.markers)) - seen:
        seen.add(point)
        if (daemon := world.daemon.pid()) is not None:
            os.kill(daemon, signal.SIGKILL)


@pytest.mark.timeout(900)
def test_production_outlasts_a_kill_at_every_point(tmp_path: Path) -> None:
    sandbox = QUICK | {"shared_renders": True, "slow_answer_s": 3.0}
    rows = [
        {"clip_id": each, "prompt": each if number % 4 else f"{each} [sandbox:slow-answer]"}
        for number, each in enumerate(CLIP_IDS)
    ]
    restarted: set[str] = set()
    with stage(tmp_path, sandbox, dict.fromkeys(POINTS, 1), SETTINGS, supervised=False) as world:
        production = world.request(write_manifest(tmp_path / "prompts.csv", rows))
        world.settle(
            production.production_id,
            timeout_s=200,
            meanwhile=lambda: restart_with_the_code_server(world, restarted),
        )
        bill = world.provider.bill()
        assert bill["duplicates"] == []
        identity = production.production_id
        assert violations(world.ledger, identity, bill, instance=world.instance) == []

        # What only a person may decide, a person decides: every clip is delivered in the end.
        ambiguous = [each for each, row in world.statuses(identity).items() if row == "ambiguous"]
        assert ambiguous
        retry_clips(world.ledger, world.settings, [])
        retry_clips(world.ledger, world.settings, ambiguous)
        world.settle(identity, timeout_s=200)
        bill = world.provider.bill()
        assert violations(world.ledger, identity, bill, instance=world.instance) == []
        assert set(world.statuses(identity).values()) == {"delivered"}
        assert set(fired(world.markers)) == set(POINTS)
        assert set(bill["by_prompt"]) == {row["prompt"] for row in rows}
        twice = {prompt for prompt, times in bill["by_prompt"].items() if times > 1}
        assert twice <= {row["prompt"] for row in rows if row["clip_id"] in ambiguous}
