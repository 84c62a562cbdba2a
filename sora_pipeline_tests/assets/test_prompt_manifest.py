from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.names import CLIPS
from sora_pipeline_tests.assets.conftest import Studio, sentence_of
from sora_pipeline_tests.conftest import rows_of


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node("prompt_manifest")
    return {key: value.value for key, value in event.metadata.items()}


def test_every_valid_row_becomes_a_partition_that_the_ledger_wants(studio: Studio, ledger: Ledger) -> None:
    result = studio.read([*rows_of(b="a fox", a="an owl"), {"clip_id": "c", "prompt": "a cat", "takes": "2"}])
    assert result.success
    keys = studio.instance.get_dynamic_partitions(CLIPS)
    assert keys[:2] == ["b", "a"], "in the manifest's order"
    assert len(keys) == 4
    assert ledger.clips.pending(3) == list(keys)
    shown = metadata_of(result)
    assert (shown["clips"], shown["invalid_rows"], shown["estimate_usd"]) == (4, 0, 4.8)
    assert (shown["still_to_pay_usd"], shown["clips_to_pay"]) == (4.8, 4)


def test_invalid_rows_are_listed_and_the_others_go_on(studio: Studio, ledger: Ledger) -> None:
    result = studio.read(
        [{"clip_id": "a", "prompt": "a fox"}, {"clip_id": "b", "prompt": "", "duration": "5"}]
    )
    assert result.success
    assert studio.instance.get_dynamic_partitions(CLIPS) == ["a"]
    (event,) = result.asset_materializations_for_node("prompt_manifest")
    table = event.metadata["problems"]
    assert isinstance(table, dg.TableMetadataValue)
    assert {(each.data["row"], each.data["column"]) for each in table.records} == {
        (2, "prompt"),
        (2, "duration"),
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        ("title,text\nx,y\n", "prompt"),
        ("clip_id,prompt\na,x\na,y\n", "a"),
    ],
)
def test_whole_file_problem_fails_with_its_sentence_and_registers_nothing(
    studio: Studio, ledger: Ledger, tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_text(content)
    result = studio.read_file(path)
    assert not result.success
    assert words in sentence_of(result)
    assert str(path) in sentence_of(result)
    assert studio.instance.get_dynamic_partitions(CLIPS) == []
    assert ledger.clips.wanted() == {}
    (made,) = ledger.productions.all()
    assert made.error is not None
    assert words in made.error


def test_nothing_named_says_what_to_set(studio: Studio) -> None:
    result = studio.materialize(["prompt_manifest"])
    assert "SORA_MANIFEST" in sentence_of(result)


def test_manifest_and_budget_of_the_environment_are_taken(
    studio: Studio, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from_env.csv").write_text("clip_id,prompt\na,a fox\n")
    monkeypatch.setenv("SORA_MANIFEST", str(tmp_path / "from_env.csv"))
    monkeypatch.setenv("SORA_BUDGET_USD", "12.50")
    assert studio.materialize(["prompt_manifest"]).success
    (made,) = ledger.productions.all()
    assert (str(made.budget_usd), made.output_uri) == ("12.5", str(tmp_path / "out"))


def test_budget_that_is_no_amount_is_refused_with_a_sentence(studio: Studio, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("clip_id,prompt\na,a fox\n")
    result = studio.read_file(tmp_path / "a.csv", budget_usd="a lot")
    assert "budget_usd" in sentence_of(result)
    assert "'a lot'" in sentence_of(result)


def test_output_that_cannot_be_written_fails_with_its_sentence(
    studio: Studio, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("clip_id,prompt\na,a fox\n")
    (tmp_path / "taken").write_text("a file where a folder should be")
    result = studio.read_file(tmp_path / "a.csv", output=str(tmp_path / "taken"))
    assert "a part of its path is a file" in sentence_of(result)
    assert ledger.clips.wanted() == {}
    (made,) = ledger.productions.all()
    assert "a part of its path is a file" in (made.error or "")
