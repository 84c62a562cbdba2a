"""The table at the end of ``run`` and in ``status``: of more clips than it lists, it says how the others stand."""

from sora_pipeline.cli.output import Summary
from sora_pipeline.ledger import Ledger
from sora_pipeline.production.surveys import surveying
from sora_pipeline_tests.conftest import Producer, keys, settings_of

INVALID = 65


def test_what_is_not_listed_is_counted_by_how_it_stands(production: Producer, ledger: Ledger) -> None:
    sound = [
        {"clip_id": f"clip-{number:02}", "prompt": f"fox {number}", "duration": 4} for number in range(70)
    ]
    wrong = [{"clip_id": f"long-{number:02}", "prompt": "fox", "duration": 99} for number in range(INVALID)]
    made = production(sound + wrong)
    ledger.cancellations.cancel(made.production_id, 3, keys("clip-00", "clip-69"))
    with surveying(ledger, made, settings_of()) as survey:
        summary = Summary(survey)
    lines = summary.table(None).plain.split("\n")
    assert lines[-1].split(maxsplit=1) == ["…", "not listed: 1 failed, 5 invalid, 9 pending"]
    assert len(lines) == 1 + 60 + 60 + 1
    assert len(summary.invalid) == summary.counts["invalid"] == INVALID


def test_a_table_of_few_clips_lists_all(production: Producer, ledger: Ledger) -> None:
    made = production(
        [{"clip_id": "fox", "prompt": "fox"}, {"clip_id": "owl", "prompt": "owl", "duration": 99}]
    )
    with surveying(ledger, made, settings_of()) as survey:
        lines = Summary(survey).table(None).plain.split("\n")
    assert [line.split()[0] for line in lines] == ["clip", "fox", "owl"]
