"""Kills at random for as long as asked: ``python -m sora_pipeline_tests.killing.soak --minutes N [--seed S] [--postgresql]``.

Each round is three random productions that number their clips alike, of two pipelines with an account each, on one real
daemon: some prompts ask for faults, fault points fire, and workers, code servers, daemons and the providers are killed
from outside. Then all is let end in peace, a person retries
what only a person may, and the referee judges. The first violation ends it, with the round's seed and folder.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sora_pipeline.clip import clip_key
from sora_pipeline_tests.conftest import QUICK, write_manifest
from sora_pipeline_tests.databases import POSTGRES_URL, Server
from sora_pipeline_tests.killing import points
from sora_pipeline_tests.killing.referee import violations
from sora_pipeline_tests.killing.second_pipeline import ACME, BUILT_IN
from sora_pipeline_tests.killing.stage import LOOK_S, Stage, kill_one, stage

HARMLESS = (
    "rate-limit-once",
    "error-503-once",
    "slow-answer",
    "fail-once",
    "no-resource-once",
    "slow",
    "unknown-status",
    "uppercase",
    "poll-errors",
    "empty-output-once",
    "late-file",
    "short-body",
    "expired",
    "lost-answer-once",
    "foreign-id-once",
    "odd-status",
    "odd-metadata",
)
LASTING = (
    "policy",
    "policy-late",
    "lost-answer",
    "html-502",
    "reset",
    "fail",
    "cancelled",
    "wrong-size",
    "truncated",
    "damaged",
    "empty-output",
    "late-wording",
    "content-403",
)
PRODUCTIONS = {"monday": BUILT_IN, "tuesday": BUILT_IN, "acme-autumn": ACME}
"""By name: which pipeline makes it."""
VIOLENCE_S = (30.0, 75.0)
KILL_EVERY_S = 5.0
VICTIMS = {"worker": 8, "provider": 3, "hanging provider": 2, "code server": 1, "daemon": 1}
"""How often each is chosen. A code server that dies is missing for up to a minute, so little else happens then."""
PEACE_S = 600.0
SAY_S = 10.0


@dataclass
class Round:
    """The productions and what is done to them, all from one seed.

    Attributes:
        seed: Decides on everything but the timing.
        killed: What was killed, and the points that fired.
        victim: What is killed next.
        next_at: From when on.
        provider_back: Which killed provider is started again, and when.
        rows: By production.
        sound: Keys of the clips that nothing is wrong with.
    """

    seed: int
    dice: random.Random = field(init=False)
    killed: Counter[str] = field(default_factory=Counter)
    victim: str | None = None
    next_at: float = 0.0
    provider_back: tuple[str, float] | None = None
    rows: dict[str, list[dict[str, str]]] = field(init=False)
    sound: list[str] = field(default_factory=list)
    plan: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        clips = self.dice.randint(6, 14)
        sizes = [self.dice.randint(1, clips - 3) for _ in PRODUCTIONS]
        self.rows = {
            production: [self._row(production, number) for number in range(size)]
            for production, size in zip(PRODUCTIONS, sizes, strict=True)
        }
        names = self.dice.sample(sorted(points.POINTS), self.dice.randint(0, 4))
        self.plan = dict.fromkeys(names, 1)

    def _row(self, production: str, number: int) -> dict[str, str]:
        clip_id, luck = f"clip-{number:02}", self.dice.random()
        fault = None
        if luck < 0.15:
            fault = self.dice.choice(LASTING)
        elif luck < 0.5:
            fault = self.dice.choice(HARMLESS)
        if luck >= 0.15:
            self.sound.append(clip_key(production, clip_id))
        prompt = f"{clip_id} of {production}"
        return {"clip_id": clip_id, "prompt": f"{prompt} [sandbox:{fault}]" if fault else prompt}

    def kill(self, world: Stage) -> None:
        """At every look: mostly nothing, now and then a kill, as soon as there is somebody to be killed."""
        now = time.monotonic()
        if self.provider_back is not None and now > self.provider_back[1]:
            self._start_provider(world)
        if now < self.next_at:
            return
        if self.victim is None:
            self.victim = self.dice.choices(list(VICTIMS), list(VICTIMS.values()))[0]
        if self._strike(world, now):
            self.killed[self.victim] += 1
            self.victim, self.next_at = None, now + self.dice.expovariate(1 / KILL_EVERY_S)

    def _strike(self, world: Stage, now: float) -> bool:
        match self.victim:
            case "worker":
                return kill_one(world.daemon.workers(), self.dice)
            case "code server":
                return kill_one(world.daemon.code_servers(), self.dice)
            case "daemon":
                daemon = world.daemon.pid()
                return daemon is not None and kill_one([daemon], self.dice)
            case "hanging provider":
                if self.provider_back is not None:
                    return False
                pipeline = self.dice.choice(sorted(world.providers))
                world.providers[pipeline].change(outage="hang", outage_s=self.dice.uniform(1, 8))
                return True
            case _ if self.provider_back is None:
                pipeline = self.dice.choice(sorted(world.providers))
                world.providers[pipeline].kill()
                self.provider_back = pipeline, now + self.dice.uniform(0.5, 6)
                return True
        return False

    def _start_provider(self, world: Stage) -> None:
        if self.provider_back is not None:
            world.providers[self.provider_back[0]].start_again()
            self.provider_back = None

    def end_violence(self, world: Stage) -> None:
        points.make_peace(world.markers)
        self._start_provider(world)
        self.killed.update(points.fired(world.markers))


def play(one: Round, folder: Path, database: str = "") -> str:
    """Play a round, in files or in an empty database; returns what to print of it.

    Raises:
        AssertionError: a violation, or productions that do not come to their end.
    """
    began = time.monotonic()
    sandbox = QUICK | {"shared_renders": True, "slow_answer_s": 2.0, "render_s": one.dice.uniform(0.2, 5.0)}
    settings = {
        "SORA_BATCH_SIZE": str(one.dice.choice([3, 6, 14])),
        "SORA_MAX_IN_FLIGHT": str(one.dice.choice([6, 20])),
    }
    supervised = one.dice.random() < 0.5
    with stage(folder, sandbox, one.plan, settings, supervised=supervised, database=database) as world:
        for production, pipeline in PRODUCTIONS.items():
            world.request(
                write_manifest(folder / f"{production.removeprefix('acme-')}.csv", one.rows[production]),
                pipeline,
            )
        violence_ends = began + one.dice.uniform(*VIOLENCE_S)
        while time.monotonic() < violence_ends:
            world.daemon.ensure()
            one.kill(world)
            _say(began, "killing", world)
            time.sleep(LOOK_S)
        one.end_violence(world)
        _settle(world, began, "in peace")
        _judge(world, "after the kills", sound=[])
        ambiguous = world.ambiguous()
        retried = world.retry()
        if ambiguous:
            world.retry(ambiguous)
        if ambiguous or retried.anew or retried.fetched:
            _settle(world, began, "after a person's retry")
        _judge(world, "after a person's retry", sound=one.sound)
        statuses = Counter(world.statuses().values())
        bills = world.bills().values()
    kills = ", ".join(f"{count} {what}" for what, count in sorted(one.killed.items()) if count) or "none"
    ends = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return (
        f"{sum(map(len, one.rows.values()))} clips, kills: {kills}; {sum(bill['accepted'] for bill in bills)} billed "
        f"({' and '.join(bill['total_usd'] for bill in bills)} USD), "
        f"{len(ambiguous)} were ambiguous; {ends}; all well, {time.monotonic() - began:.0f} s"
    )


def _settle(world: Stage, began: float, when: str) -> None:
    world.settle(timeout_s=PEACE_S, meanwhile=lambda: _say(began, when, world))


def _judge(world: Stage, when: str, *, sound: list[str]) -> None:
    found = violations(world.ledger, world.bills(), instance=world.instance, sound=sound)
    assert not found, f"{when}:\n" + "\n".join(f"  - {each}" for each in found)


_said_at = 0.0


def _say(began: float, when: str, world: Stage) -> None:
    """Progress, not too often."""
    global _said_at
    if time.monotonic() - _said_at > SAY_S:
        _said_at = time.monotonic()
        print(f"  {_said_at - began:4.0f} s, {when}: {world.situation()}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Kill at random, and see whether anything is lost or paid twice."
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the first round; the next ones count up")
    parser.add_argument(
        "--postgresql", action="store_true", help="ledger and Dagster's storage on TEST_POSTGRES_URL"
    )
    asked = parser.parse_args()
    server = Server(POSTGRES_URL) if asked.postgresql else None
    seed = random.randrange(1_000_000) if asked.seed is None else asked.seed
    end = time.monotonic() + asked.minutes * 60
    rounds = 0
    # So that a service manager, or Ctrl-C in another shell, leaves no daemon behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    while time.monotonic() < end:
        one, folder = Round(seed), Path(tempfile.mkdtemp(prefix=f"soak-{seed}-"))
        try:
            database = server.create() if server else ""
            print(f"seed {seed}: {play(one, folder, database)}", flush=True)
            if server:
                server.drop(database)
        except Exception:
            traceback.print_exc()
            print(
                f"seed {seed}: VIOLATION, after the kills {dict(one.killed)}; look into {folder}", flush=True
            )
            print(f"again: python -m sora_pipeline_tests.killing.soak --seed {seed}", flush=True)
            return 1
        shutil.rmtree(folder)
        seed, rounds = seed + 1, rounds + 1
    print(f"{rounds} rounds, nothing lost and nothing paid twice", flush=True)
    return 0


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    sys.exit(main())
