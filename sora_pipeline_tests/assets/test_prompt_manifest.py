from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sora_pipeline.assets import prompt_manifest
from sora_pipeline.ledger import Ledger, Production
from sora_pipeline.names import CLIPS
from sora_pipeline_tests.assets.conftest import Studio, sentence_of
from sora_pipeline_tests.conftest import keys, rows_of, write_manifest


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node("prompt_manifest")
    return {key: value.value for key, value in event.metadata.items()}


def test_every_valid_row_becomes_a_partition_that_the_ledger_wants(studio: Studio, ledger: Ledger) -> None:
    result = studio.read([*rows_of(b="a fox", a="an owl"), {"clip_id": "c", "prompt": "a cat", "takes": "2"}])
    assert result.success
    partitions = studio.instance.get_dynamic_partitions(CLIPS)
    assert partitions[:2] == keys("b", "a"), "in the manifest's order"
    assert len(partitions) == 4
    assert ledger.clips.pending(3) == list(partitions)
    shown = metadata_of(result)
    assert (shown["clips"], shown["invalid_rows"], shown["estimate_usd"]) == (4, 0, 4.8)
    assert (shown["still_to_pay_usd"], shown["clips_to_pay"]) == (4.8, 4)


def test_invalid_rows_are_listed_and_the_others_go_on(studio: Studio, ledger: Ledger) -> None:
    result = studio.read(
        [{"clip_id": "a", "prompt": "a fox"}, {"clip_id": "b", "prompt": "", "duration": "5"}]
    )
    assert result.success
    assert studio.instance.get_dynamic_partitions(CLIPS) == keys("a")
    (event,) = result.asset_materializations_for_node("prompt_manifest")
    table = event.metadata["problems"]
    assert isinstance(table, dg.TableMetadataValue)
    assert {(each.data["row"], each.data["column"]) for each in table.records} == {
        ("row 3", "prompt"),
        ("row 3", "duration"),
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        ("title,text\nx,y\n", "prompt"),
        ("prompt,Clip ID,ClipID\na,x,y\n", "all mean"),
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
    assert ledger.clips.pending(3) == []
    assert ledger.productions.all() == []


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
    assert (str(made.budget_usd), made.output_uri) == ("12.5", str(tmp_path / "out" / "from_env"))


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
    assert ledger.clips.pending(3) == []
    assert ledger.productions.all() == []


def test_production_that_can_no_longer_be_read_says_so_to_whoever_asks(
    studio: Studio, ledger: Ledger, tmp_path: Path
) -> None:
    """The schedule names no production; it is the one that was made from this file."""
    studio.read(rows_of(a="a fox"))
    (tmp_path / "prompts.csv").write_text("title,text\nx,y\n")
    assert not studio.read_file(tmp_path / "prompts.csv").success
    assert "prompt" in (ledger.productions.get("prompts").error or "")
    assert ledger.clips.pending(3) == keys("a"), "what was wanted stays wanted"
    studio.read(rows_of(a="a fox"))
    assert ledger.productions.get("prompts").error is None


def test_output_and_name_of_another_production_are_refused_before_anything_is_written(
    studio: Studio, ledger: Ledger, tmp_path: Path
) -> None:
    studio.read(rows_of(a="a fox"), "monday.csv")
    (tmp_path / "tuesday.csv").write_text("clip_id,prompt\na,an owl\n")
    taken = str(tmp_path / "out" / "monday")
    refused = studio.read_file(tmp_path / "tuesday.csv", output=taken)
    assert f"{taken} is the output of the production monday" in sentence_of(refused)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "monday.csv").write_text("clip_id,prompt\nb,an owl\n")
    assert "--name monday" in sentence_of(studio.read_file(tmp_path / "elsewhere" / "monday.csv"))
    assert [each.production_id for each in ledger.productions.all()] == ["monday"]
    assert studio.instance.get_dynamic_partitions(CLIPS) == ["monday:a"]
    assert studio.read_file(tmp_path / "tuesday.csv", production="mardi").success
    assert ledger.productions.get("mardi").output_uri == str(tmp_path / "out" / "mardi")


def test_manifest_that_was_mended_and_read_meanwhile_is_read_again(
    studio: Studio, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images may take minutes: what a person has mended by then must not be wanted as it was before."""
    path = write_manifest(tmp_path / "slow.csv", rows_of(a="a fox", b="a bear"))
    register, overtaken = prompt_manifest.register, []

    def overtake(*arguments: Any) -> Production:
        if not overtaken:
            overtaken.append(path)
            write_manifest(path, rows_of(a="an owl"))
            assert studio.read_file(path).success
            assert [each.prompt for each in ledger.clips.of_production("slow")] == ["an owl"]
        return register(*arguments)

    monkeypatch.setattr(prompt_manifest, "register", overtake)
    result = studio.read_file(path)
    assert result.success
    assert overtaken
    assert metadata_of(result)["clips"] == 1
    assert [each.prompt for each in ledger.clips.of_production("slow")] == ["an owl"]
    known = ledger.productions.get("slow")
    assert known.snapshot_began_at == known.read_at
    assert ledger.productions.requested("") == []
