"""The reference has whatever the code has."""

import re
from pathlib import Path

import pytest

from docs_reference import cli, columns, component, errors, metadata, python_api, settings
from docs_reference.meanings import members
from docs_reference.pages import PAGES, write_pages
from sora_pipeline.advice import ADVICE
from sora_pipeline.cli.app import app
from sora_pipeline.components import VideoProduction
from sora_pipeline.manifest.columns import INPUT_COLUMNS, OUTPUT_COLUMNS
from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.settings import Settings, variable
from sora_pipeline.status import ClipStatus


def rows_of(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables by their first cell."""
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


def test_every_command_and_option_is_there() -> None:
    page = cli.page()
    for command in app.registered_commands:
        assert f"`sora-pipeline {command.name}`" in page
    for word in (
        "sora-pipeline ledger rebuild",
        "sora-pipeline sandbox",
        "--budget USD",
        "--render-s",
        "[sandbox:policy]",
    ):
        assert word in page
    assert "## Exit codes" in page


def test_every_setting_is_there_as_the_code_says_it() -> None:
    rows = rows_of(settings.page())
    for name, field in Settings.model_fields.items():
        default, meaning = rows[variable(name)]
        given = field.get_default()
        assert default == ("" if given is None else f"`{given}`")
        assert meaning.startswith(str(field.description))
    assert rows["SORA_IMAGE_FIT"][1].endswith("One of `error`, `crop`, `pad`, `stretch`.")


def test_every_column_has_a_type_and_a_meaning() -> None:
    read, written = rows_of(columns.input_table()), rows_of(columns.output_table())
    assert list(read) == list(INPUT_COLUMNS)
    assert list(written) == list(OUTPUT_COLUMNS)
    assert [name for name, cells in (read | written).items() if not all(cells)] == []
    assert written["cost_usd"][0] == "`double`"


@pytest.mark.parametrize("enumeration", [ClipStatus, ErrorKind])
def test_every_word_of_the_output_is_there(enumeration: type[ClipStatus] | type[ErrorKind]) -> None:
    assert set(members(enumeration)) == {str(member) for member in enumeration}
    assert [value for value, meaning in members(enumeration).items() if not meaning] == []
    assert set(rows_of(columns.page())) >= {str(member) for member in enumeration}


def test_every_attribute_of_the_component_is_there() -> None:
    rows = rows_of(component.page())
    assert set(rows) == set(VideoProduction.model().model_json_schema()["properties"])
    assert list(rows)[:2] == ["name", "key_prefix"]
    assert all(kind and meaning for kind, meaning in rows.values())


def test_every_advice_is_there_most_with_the_sentence_it_follows() -> None:
    page = errors.page()
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == list(ADVICE)
    assert "> there is no space left" in page
    assert "`sora-pipeline run {manifest} --name {production}` reads it" in page
    assert len(errors.sentences()) > len(ADVICE) / 2


def test_metadata_keys_are_there() -> None:
    page = metadata.page()
    for key in (
        "still_to_pay_usd",
        "prediction_id",
        "render_s",
        "storyboard",
        "sora/batch",
        "acme_clips",
        "fps",
    ):
        assert f"`{key}`" in page


def test_python_page_names_only_what_is_there() -> None:
    for entries in python_api.SECTIONS.values():
        for directive, name, _ in entries:
            module, _, attribute = name.rpartition(".") if directive != "automodule" else (name, "", "")
            imported = __import__(module, fromlist=["_"])
            assert not attribute or hasattr(imported, attribute), name


def test_pages_that_would_not_change_are_left_alone(tmp_path: Path) -> None:
    write_pages(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    write_pages(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    assert {path.stem for path in before} == set(PAGES)
