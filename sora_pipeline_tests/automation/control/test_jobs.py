"""Jobs from the Launchpad, as Dagster executes them: what they change, and one sentence for what cannot be."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.pipeline import VideoPipeline
from sora_pipeline_tests.assets.conftest import Studio, sentence_of, studio
from sora_pipeline_tests.conftest import Sandbox, rows_of, standing, write_manifest

__all__ = ["studio"]  # a fixture

Launch = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def launch(studio: Studio) -> Launch:
    """A job of the pipeline, with the config of its one op."""

    def launched(job: str, pipeline: VideoPipeline | None = None, **config: Any) -> dg.ExecuteInProcessResult:
        used = pipeline or VideoPipeline()
        found = used.definitions().resolve_job_def(used.names.of(f"{job}_job"))
        return found.execute_in_process(
            instance=studio.instance,
            run_config={"ops": {used.names.of(job): {"config": config}}},
            raise_on_error=False,
        )

    return launched


def refused(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    sentence = sentence_of(result)
    assert "Traceback" not in sentence
    return sentence


# ---- budget


def test_budget_is_raised_and_waiting_clips_go_on(studio: Studio, launch: Launch, ledger: Ledger) -> None:
    studio.read_file(
        write_manifest(studio.folder / "prompts.csv", rows_of(a="a fox", b="an owl")), budget_usd="1.20"
    )
    assert launch("set_budget", production="prompts", usd="2.40").success
    production = ledger.productions.get("prompts")
    assert (production.budget_usd, production.budget_given) == (Decimal("2.40"), True)
    assert launch("set_budget", usd=" None ").success, "the only production needs no name"
    assert ledger.productions.get("prompts").budget_usd is None
    studio.read(rows_of(a="a fox", b="an owl"))
    assert ledger.productions.get("prompts").budget_usd is None, "what a person said holds"


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"production": "promts", "usd": "3"},
            "there is no production 'promts'; there are monday, prompts. Did you mean prompts?",
        ),
        ({"usd": "3"}, "say which production is meant: monday, prompts"),
        (
            {"production": "monday", "usd": "three"},
            "usd: 'three' is not an amount of US dollars such as 25 or 12.50",
        ),
        ({"production": "monday", "usd": "-1"}, "usd: '-1' is not an amount"),
        ({"production": "monday", "usd": ""}, "usd: '' is not an amount"),
    ],
)
def test_budget_that_cannot_be_is_one_sentence(
    studio: Studio, launch: Launch, ledger: Ledger, config: dict[str, str], sentence: str
) -> None:
    studio.read(rows_of(a="a fox"))
    studio.read(rows_of(a="an owl"), "monday.csv")
    assert sentence in refused(launch("set_budget", **config))
    assert [production.budget_usd for production in ledger.productions.all()] == [None, None]


def test_nothing_read_so_far_is_said(studio: Studio, launch: Launch) -> None:
    assert "no manifest was read so far" in refused(launch("set_budget", usd="3"))
    assert launch("retry").success, "there is nothing to retry"


def test_each_pipeline_has_jobs_for_its_own_productions(
    studio: Studio, launch: Launch, ledger: Ledger
) -> None:
    acme = VideoPipeline("acme")
    studio.read(rows_of(a="a fox"))
    assert "no manifest was read so far" in refused(launch("set_budget", acme, production="prompts", usd="3"))
    assert ledger.productions.get("prompts").budget_usd is None
    jobs = {job.name for job in acme.definitions().get_repository_def().get_all_jobs()}
    assert {"acme_set_budget_job", "acme_retry_job", "acme_change_prompt_job", "acme_cancel_job"} <= jobs
    dg.Definitions.validate_loadable(VideoPipeline.merge(acme, VideoPipeline()))


# ---- retry


@pytest.fixture
def failed(studio: Studio) -> None:
    """Of two productions with equal clip ids, clips that failed in two ways, and one that is delivered."""
    for name in ("monday", "prompts"):
        rows = rows_of(
            fine=f"a fox of {name}", refused=f"[sandbox:policy] {name}", late=f"[sandbox:policy-late] {name}"
        )
        studio.read(rows, f"{name}.csv")
        for asset in ("generations", "videos"):
            first, last = f"{name}:fine", f"{name}:late"
            marks = {
                "dagster/asset_partition_range_start": first,
                "dagster/asset_partition_range_end": last,
            }
            studio.materialize([asset], tags=marks)


def rounds(ledger: Ledger) -> dict[tuple[str, str], int]:
    return {
        (name, clip_id): standing(ledger, clip_id, name).round
        for name in ("monday", "prompts")
        for clip_id in ("fine", "refused", "late")
    }


def test_failed_clips_of_one_production_are_tried_again(
    studio: Studio, failed: None, launch: Launch, ledger: Ledger
) -> None:
    before = rounds(ledger)
    assert launch("retry", production="monday").success
    anew = {which for which, number in rounds(ledger).items() if number > before[which]}
    assert anew == {("monday", "refused"), ("monday", "late")}


def test_named_clips_and_kinds(studio: Studio, failed: None, launch: Launch, ledger: Ledger) -> None:
    before = rounds(ledger)
    assert launch("retry", production="prompts", clips=["late"]).success
    assert launch("retry", production="monday", clips=["refused", "fine"], kind="content_policy").success
    anew = {which for which, number in rounds(ledger).items() if number > before[which]}
    assert anew == {("prompts", "late"), ("monday", "refused")}


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"production": "prompts", "clips": ["fime"]}, "clips: fime is no clip of prompts"),
        ({"clips": ["late"]}, r"several productions have a clip of the id late (monday, prompts)"),
        (
            {"production": "prompts", "kind": "hunger"},
            "kind: hunger is no kind that clips failed with; there are: content_policy",
        ),
        ({"production": "prompts", "give_up": True}, "give_up: say in clips which are to be given up"),
        ({"production": "tuesday"}, "there is no production 'tuesday'; there are monday, prompts."),
    ],
)
def test_retry_that_cannot_be_is_one_sentence(
    studio: Studio, failed: None, launch: Launch, ledger: Ledger, config: dict[str, Any], sentence: str
) -> None:
    before = rounds(ledger)
    assert sentence in refused(launch("retry", **config))
    assert rounds(ledger) == before


# ---- another prompt


def test_new_prompt_is_made_and_stands_until_the_rows_own_changes(
    studio: Studio, launch: Launch, ledger: Ledger, sandbox: Sandbox
) -> None:
    rows: list[dict[str, Any]] = [
        {"clip_id": "a", "prompt": "[sandbox:policy] a fox", "campaign": "autumn, =1+1"},
        {"clip_id": "b", "prompt": "an owl", "campaign": ""},
    ]
    studio.read(rows)
    studio.materialize(["generations", "videos"], ("a", "b"))
    assert launch("change_prompt", production="prompts", clip="a", prompt='=a "red" fox,\nrunning').success
    now = standing(ledger, "a")
    assert now.clip.prompt == '=a "red" fox,\nrunning'
    assert now.clip.carried == {"campaign": "autumn, =1+1"}
    assert now.clip.row_number == 1
    assert now.pending(3)
    assert studio.materialize(["generations"], ("a", "a")).success
    assert studio.materialize(["videos"], ("a", "a")).success
    assert studio.colours("videos")["a"] == "MATERIALIZED"
    assert sandbox.billed_for("red") == 1
    assert sandbox.billed_for("an owl") == 1, "the other clip is not made anew"
    studio.read(rows)
    assert standing(ledger, "a").clip.prompt.startswith("=a "), "the campaign's row has not changed"
    rows[0]["prompt"] = "a blue fox"
    studio.read(rows)
    assert standing(ledger, "a").clip.prompt == "a blue fox"


def test_new_prompt_of_a_delivered_clip_keeps_the_old_file(
    studio: Studio, launch: Launch, ledger: Ledger, tmp_path: Path
) -> None:
    studio.read(rows_of(a="a fox"))
    studio.materialize(["generations", "videos"], ("a", "a"))
    assert launch("change_prompt", clip="prompts:a", prompt="a red fox").success
    studio.materialize(["generations", "videos"], ("a", "a"))
    assert len(list((tmp_path / "out" / "prompts" / "videos" / "a").glob("*.mp4"))) == 2


def test_reading_of_a_new_prompt_is_known_where_the_ledger_is_lost(studio: Studio, launch: Launch) -> None:
    studio.read(rows_of(a="a fox"))
    assert launch("change_prompt", clip="a", prompt="a red fox").success
    event = studio.instance.get_latest_materialization_event(dg.AssetKey("prompt_manifest"))
    assert event is not None
    assert event.asset_materialization is not None
    facts = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (facts["amends"], facts["production"]) == (True, "prompts")
    assert Path(str(facts["manifest"])).is_file()


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"clip": "b", "prompt": "x"}, "clip: prompts has no clip 'b'"),
        ({"clip": "a", "prompt": "  "}, "prompt: "),
        (
            {"clip": "a", "prompt": "a fox"},
            "prompt: a has this prompt already. The job retry_job has it made once more",
        ),
        ({"clip": "a", "prompt": "x" * 100_000}, "prompt: "),
        ({"production": "x", "clip": "a", "prompt": "x"}, "there is no production 'x'; there are prompts."),
    ],
)
def test_new_prompt_that_cannot_be_is_one_sentence_and_changes_nothing(
    studio: Studio, launch: Launch, ledger: Ledger, tmp_path: Path, config: dict[str, str], sentence: str
) -> None:
    studio.read(rows_of(a="a fox"))
    assert sentence in refused(launch("change_prompt", **config))
    assert standing(ledger, "a").clip.prompt == "a fox"
    assert list((tmp_path / "out" / "prompts").glob(".amendments/*")) == []


# ---- pause, resume, cancel


def test_production_is_paused_and_goes_on(studio: Studio, launch: Launch, ledger: Ledger) -> None:
    studio.read(rows_of(a="a fox"))
    studio.read(rows_of(a="an owl"), "monday.csv")
    assert "say which production" in refused(launch("pause"))
    assert launch("pause", production="monday").success
    assert ledger.productions.get("monday").paused_at is not None
    assert ledger.productions.get("prompts").paused_at is None
    assert launch("resume", production="monday").success
    assert ledger.productions.get("monday").paused_at is None


def test_account_is_paused_and_goes_on_with_what_a_breaker_stopped(
    studio: Studio, launch: Launch, ledger: Ledger
) -> None:
    studio.read(rows_of(a="a fox"))
    ledger.breakers.open("sandbox", "bad_token", "HTTP 401")
    assert launch("pause", account=True).success
    assert set(ledger.paused.accounts()) == {"sandbox"}
    assert launch("resume", account=True).success
    assert (ledger.paused.accounts(), ledger.breakers.get("sandbox")) == ({}, None)


def test_clips_of_one_production_are_cancelled(studio: Studio, launch: Launch, ledger: Ledger) -> None:
    for name in ("monday", "prompts"):
        studio.read(rows_of(a=f"a fox of {name}", b=f"an owl of {name}"), f"{name}.csv")
    assert "say in production, or in clips" in refused(launch("cancel"))
    assert "nobody is no clip of monday; nothing" in refused(
        launch("cancel", production="monday", clips=["a", "nobody"])
    )
    assert len(ledger.clips.pending(3)) == 4
    assert launch("cancel", production="monday", clips=["a"]).success
    assert launch("cancel", production="prompts").success
    assert ledger.clips.pending(3) == ["monday:b"]
    assert launch("retry", kind="cancelled").success
    assert len(ledger.clips.pending(3)) == 4
