"""Three productions go through every fault point there is, on a real daemon: nothing is paid twice, nothing is lost.

They number their clips alike; two are of the built-in pipeline, one of a second pipeline in the same code location, whose
provider account has no money at first. What happens to one account is none of the other's business.
"""

import os
import signal
from pathlib import Path

import pytest

from sora_pipeline.clip import clip_key
from sora_pipeline_tests.conftest import QUICK, ids, write_manifest
from sora_pipeline_tests.killing.points import POINTS, fired
from sora_pipeline_tests.killing.referee import violations
from sora_pipeline_tests.killing.second_pipeline import ACME, BUILT_IN, SANDBOX
from sora_pipeline_tests.killing.stage import Stage, stage

PRODUCTIONS = {"monday": BUILT_IN, "tuesday": BUILT_IN, "acme-autumn": ACME}
CLIP_IDS = [f"clip-{number:02}" for number in range(5)]
SETTINGS = {"SORA_BATCH_SIZE": "5", "SORA_MAX_IN_FLIGHT": "3"}
"""Fewer slots than clips: runs go on for several waves."""
CODE_SERVER_POINTS = ("after_reserve", "code_server_while_collecting")


def rows(production: str) -> list[dict[str, str]]:
    prompts = [f"{each} of {production}" for each in CLIP_IDS]
    return [
        {"clip_id": each, "prompt": prompt if number % 4 else f"{prompt} [sandbox:slow-answer]"}
        for number, (each, prompt) in enumerate(zip(CLIP_IDS, prompts, strict=True))
    ]


class Bystander:
    """What people and service managers do while it goes on."""

    def __init__(self, world: Stage) -> None:
        self._world = world
        self._restarted: set[str] = set()
        self.refused: str | None = None
        self.meanwhile: int | None = None

    def look(self) -> None:
        self._restart_with_the_code_server()
        self._give_money_once_refused()

    def _restart_with_the_code_server(self) -> None:
        """Dagster replaces a code server that died within a minute; a service manager that watches it is quicker."""
        for point in set(CODE_SERVER_POINTS) & set(fired(self._world.markers)) - self._restarted:
            self._restarted.add(point)
            if (daemon := self._world.daemon.pid()) is not None:
                os.kill(daemon, signal.SIGKILL)

    def _give_money_once_refused(self) -> None:
        """The second account's breaker has opened: it is topped up when the first one has gone on all the same."""
        breaker = self._world.ledger.breakers.get(ACME)
        bills = self._world.bills()
        if breaker is None or self.refused or not bills[SANDBOX]["accepted"]:
            return
        assert bills[ACME]["accepted"] == 0
        assert self._world.ledger.breakers.get(SANDBOX) is None
        self.refused = breaker.kind
        self._world.providers[ACME].change(balance_usd=None)
        self._world.ledger.breakers.close(ACME)

    def everybody_has_money(self) -> bool:
        return self.refused is not None


@pytest.mark.timeout(900)
def test_productions_outlast_a_kill_at_every_point(tmp_path: Path) -> None:
    sandbox = QUICK | {"shared_renders": True, "slow_answer_s": 3.0}
    with stage(tmp_path, sandbox, dict.fromkeys(POINTS, 1), SETTINGS, supervised=False) as world:
        world.providers[ACME].change(balance_usd=0)
        for production, pipeline in PRODUCTIONS.items():
            world.request(
                write_manifest(tmp_path / f"{production.removeprefix('acme-')}.csv", rows(production)),
                pipeline,
            )
        bystander = Bystander(world)
        world.settle(timeout_s=200, meanwhile=bystander.look, done=bystander.everybody_has_money)
        assert bystander.refused == "no_balance"
        bills = world.bills()
        assert [bill["duplicates"] for bill in bills.values()] == [[], []]
        assert violations(world.ledger, bills, instance=world.instance) == []

        # What only a person may decide, a person decides: every clip is delivered in the end.
        ambiguous = world.ambiguous()
        assert ambiguous
        world.retry()
        world.retry(ambiguous)
        world.settle(timeout_s=200)
        assert violations(world.ledger, world.bills(), instance=world.instance) == []
        statuses = world.statuses()
        assert set(statuses) == {clip_key(name, each) for name in PRODUCTIONS for each in CLIP_IDS}
        assert set(statuses.values()) == {"delivered"}
        assert set(fired(world.markers)) == set(POINTS)
        by_prompt = world.by_prompt()
        prompts = {
            clip_key(name, row["clip_id"]): row["prompt"] for name in PRODUCTIONS for row in rows(name)
        }
        assert set(by_prompt) == set(prompts.values())
        twice = {prompt for prompt, times in by_prompt.items() if times > 1}
        assert twice <= {prompts[key] for key in ambiguous}
        assert sorted(ids(world.instance.get_dynamic_partitions("acme_clips"))) == CLIP_IDS
