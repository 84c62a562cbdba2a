"""Whatever goes wrong, and in whatever order: each clip ends delivered or with a reason, at one bill an attempt at most.

In a world of two productions that number their clips alike, at one account or at one each.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import QUICK, Producer, RunContexts, Sandbox, keys

# Those that take minutes of a test's time, or stop every clip alike, have tests of their own.
FAULTS = [
    "",
    "policy",
    "policy-late",
    "no-resource",
    "no-resource-once",
    "fail-once",
    "error-503-once",
    "html-502",
    "lost-answer",
    "lost-answer-once",
    "reset",
    "late-file",
    "expired",
    "short-body",
    "truncated",
    "damaged",
    "odd-metadata",
    "wrong-size",
    "wrong-type",
    "empty-output",
    "poll-errors",
    "unknown-status",
    "odd-status",
    "foreign-id-once",
    "late-wording",
    "content-403",
    "error-500",
    "uppercase",
    "cancelled",
]
PRODUCTIONS = ("monday", "tuesday")
OTHER_ACCOUNT = "second"

some_faults = st.lists(st.sampled_from(FAULTS), min_size=2, max_size=4)


@pytest.fixture(scope="module")
def second_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A provider of its own at another address, which knows nothing of the first one's predictions."""
    settings = SandboxSettings(state_dir=tmp_path_factory.mktemp("second"), shared_renders=True, **QUICK)
    with running_sandbox(settings) as endpoint, httpx.Client(base_url=endpoint.url, trust_env=False) as http:
        yield Sandbox(endpoint, http)


async def produce(run_context: RunContext, everything: list[str]) -> None:
    """What sensors do, without their waits: submit what is pending, fetch what is in flight, until nothing is left.

    Of all productions: what another account submits is not to be touched, and nothing else decides it.
    """
    for number in range(run_context.settings.max_attempts + 1):
        pending = run_context.ledger.clips.pending(run_context.settings.max_attempts)
        if not pending:
            return
        batch_id = f"{run_context.owner}-{number}"
        await ensure_predictions(run_context, pending, batch_id=batch_id, may_begin=True)
        # What went on against a provider in trouble is said by a person, who looks into it.
        run_context.ledger.breakers.close(run_context.account.name)
        await collect_videos(run_context, everything, resume_timed_out=False)


def has_an_end(attempt: Attempt) -> bool:
    """Delivered, or not, with a kind and a sentence; a video that could not be fetched stays fetchable."""
    told = attempt.failure is not None and bool(attempt.failure.kind and attempt.failure.message)
    return attempt.state is AttemptState.COLLECTED or (attempt.state is not AttemptState.IN_FLIGHT and told)


@pytest.mark.parametrize("accounts", [1, 2])
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(faults=st.tuples(some_faults, some_faults))
def test_every_clip_ends_with_a_reason_and_one_bill_an_attempt(
    new_ledger: Callable[[], Ledger],
    impatient: None,
    sandbox: Sandbox,
    second_server: Sandbox,
    accounts: int,
    faults: tuple[list[str], list[str]],
) -> None:
    servers = [sandbox, second_server][:accounts]
    for server in servers:
        server.http.post("/sandbox/reset").raise_for_status()
    with tempfile.TemporaryDirectory() as name, dg.DagsterInstance.ephemeral() as instance:
        ledger = new_ledger()
        produced = Producer(Path(name), ledger, instance)
        account_of = {"monday": "sandbox", "tuesday": OTHER_ACCOUNT if accounts == 2 else "sandbox"}
        prompts: dict[str, str] = {}
        for production, wanted in zip(PRODUCTIONS, faults, strict=True):
            made = {
                f"clip-{number}": f"{production} {number} [sandbox:{fault}]"
                if fault
                else f"{production} {number}"
                for number, fault in enumerate(wanted)
            }
            rows = [{"clip_id": clip_id, "prompt": prompt} for clip_id, prompt in made.items()]
            output = str(Path(name) / "out" / production)
            produced(rows, file=f"{production}.csv", output=output, account=account_of[production])
            prompts |= zip(keys(*made, production=production), made.values(), strict=True)

        async def work(server: Sandbox, owner: str, **options: str) -> None:
            async with RunContexts(server, ledger).open(owner, **options) as run_context, asyncio.timeout(90):
                await produce(run_context, list(prompts))

        async def all_work() -> None:
            runs = zip(servers, ("run-1", "run-2"), [{}, {"account": OTHER_ACCOUNT}], strict=False)
            await asyncio.gather(*(work(server, owner, **options) for server, owner, options in runs))

        asyncio.run(all_work())
        bills = {server.url: server.bill()["by_prompt"] for server in servers}
        for clip_key, prompt in prompts.items():
            attempts = ledger.attempts.of_clips([clip_key])
            assert attempts, f"{prompt}: never attempted"
            assert has_an_end(attempts[-1]), f"{prompt}: {attempts[-1]}"
            production = attempts[0].production_id
            account = account_of[production]
            assert {each.account.name for each in attempts} == {account}
            home, *others = servers if account == "sandbox" else servers[::-1]
            billed = [each for each in attempts if each.billed]
            sure = [each for each in attempts if each.submission.accepted_at]
            assert len(sure) <= bills[home.url].get(prompt, 0) <= len(billed), f"{prompt}: {attempts}"
            assert not any(bills[other.url].get(prompt) for other in others), (
                f"{prompt}: paid by another account"
            )
            for each in attempts:
                video = each.result.video
                assert video is None or video.output_uri.endswith(f"/out/{production}")
        for production in PRODUCTIONS:
            mine = [each for each in ledger.attempts.of_production(production) if each.billed]
            assert ledger.money.of_production(production).spent_usd == sum(each.cost_usd for each in mine)
        ledger.close()
