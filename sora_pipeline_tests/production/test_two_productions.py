"""Two productions that number their clips alike: two outputs, two bills, and neither hears of the other."""

from decimal import Decimal

import pyarrow.parquet as pq
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.naming import ProductionNameError
from sora_pipeline.production.ownership import OutputOwnedError
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import USD, Producer, Sandbox, keys, refusal, rows_of


@pytest.mark.anyio
async def test_equal_clip_ids_are_two_clips(
    run_context: RunContext, production: Producer, sandbox: Sandbox, ledger: Ledger
) -> None:
    monday = production(rows_of(c1="monday's cat", c2="monday's dog"), file="monday.csv")
    tuesday = production(rows_of(c1="tuesday's cat"), file="tuesday.csv")
    everything = [*keys("c1", "c2", production="monday"), *keys("c1", production="tuesday")]
    await ensure_predictions(run_context, everything, batch_id="b", may_begin=True)
    collected = await collect_videos(run_context, everything, resume_timed_out=False)
    assert sorted(collected.delivered) == sorted(everything)
    assert sandbox.billed == 3
    for made, clips in ((monday, 2), (tuesday, 1)):
        survey = publish(ledger, made.production_id, run_context.settings, "run")
        assert survey is not None
        table = pq.read_table(f"{made.output_uri}/metadata.parquet").to_pylist()
        assert [row["production"] for row in table] == [made.production_id] * clips
        assert [row["cost_usd"] for row in table] == [float(USD)] * clips
        assert [row["attempts"] for row in table] == [1] * clips
        spent = ledger.money.of_production(made.production_id).spent_usd
        assert spent == clips * USD
    assert monday.output_uri != tuesday.output_uri


def test_an_output_belongs_to_one_production(production: Producer) -> None:
    production(rows_of(a="one"), file="monday.csv", output="shared")
    with pytest.raises(OutputOwnedError, match="monday"):
        production(rows_of(a="two"), file="tuesday.csv", output="shared")


def test_a_name_belongs_to_one_manifest_unless_it_is_said(production: Producer, ledger: Ledger) -> None:
    (production.folder / "elsewhere").mkdir()
    production(rows_of(a="one"), file="monday.csv")
    with refusal(ProductionNameError, "--name monday"):
        production(rows_of(a="one"), file="elsewhere/monday.csv")
    moved = production(rows_of(a="one"), file="elsewhere/monday.csv", name="monday")
    assert moved.manifest_uri.endswith("elsewhere/monday.csv")
    assert [each.production_id for each in ledger.productions.all()] == ["monday"]


@pytest.mark.anyio
async def test_a_renamed_manifest_pays_for_nothing_again(
    run_context: RunContext, production: Producer, ledger: Ledger
) -> None:
    production(rows_of(a="one", b="two"), file="monday.csv")
    await ensure_predictions(run_context, keys("a", production="monday"), batch_id="b", may_begin=True)
    with refusal(LedgerError, "--name monday"):
        production(rows_of(a="one", b="two"), file="spring.csv")
    production(rows_of(a="one", b="two"), file="spring.csv", name="monday")
    assert ledger.clips.pending(3, "monday") == keys("b", production="monday")


def test_budgets_are_each_productions_own(production: Producer, ledger: Ledger) -> None:
    monday = production(rows_of(a="one"), file="monday.csv", budget=Decimal(5))
    tuesday = production(rows_of(a="two"), file="tuesday.csv")
    again = production(rows_of(a="three"), file="monday.csv")
    assert (monday.budget_usd, tuesday.budget_usd, again.budget_usd) == (Decimal(5), None, Decimal(5))
