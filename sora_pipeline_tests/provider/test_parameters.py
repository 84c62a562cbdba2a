"""Further parameters of a model on the wire, in every format, over real HTTP; and in the catalogue."""

from dataclasses import replace
from pathlib import Path

import pytest

from sora_pipeline.parameter import ParameterType
from sora_pipeline.provider.catalogue import CatalogueError, load_catalogue
from sora_pipeline_tests.provider.asking import LOCAL, PUBLIC, asking, form, submit
from sora_pipeline_tests.provider.raw_server import RawServer, answer

PARAMETERS = {"negative_prompt": "blur, täxt", "seed": 7, "strength": 0.5, "loop": True}
ASKING = replace(asking(), parameters=PARAMETERS)
TAKEN = answer(202, {"id": "job-1", "status": "pending"})


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["sandbox", "gptproto", "gptproto-unified"])
async def test_parameters_are_fields_of_json(name: str) -> None:
    async with RawServer([TAKEN, TAKEN, TAKEN]) as server:
        await submit(server, ASKING, name)
        await submit(server, replace(ASKING, image=PUBLIC), name)
        await submit(server, asking(), name)
    with_text, with_image, without = (request.json for request in server.received)
    assert PARAMETERS.items() <= with_text.items()
    assert PARAMETERS.items() <= with_image.items()
    assert {key: value for key, value in with_text.items() if key not in PARAMETERS} == without


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "transport"), [("gptproto", "multipart"), ("openai-videos", "auto")])
async def test_parameters_are_fields_of_a_form(name: str, transport: str) -> None:
    async with RawServer([TAKEN]) as server:
        await submit(server, replace(ASKING, image=LOCAL), name, image_transport=transport)
    sent = {
        key: value.decode() for key, (_, _, value) in form(server.received[0]).items() if key in PARAMETERS
    }
    assert sent == {"negative_prompt": "blur, täxt", "seed": "7", "strength": "0.5", "loop": "true"}


@pytest.mark.anyio
async def test_openai_json_has_them_typed() -> None:
    async with RawServer([TAKEN]) as server:
        await submit(server, replace(ASKING, image=PUBLIC), "openai-videos", image_transport="url")
    assert PARAMETERS.items() <= server.received[0].json.items()


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["sandbox", "gptproto", "gptproto-unified", "openai-videos"])
async def test_no_parameter_replaces_what_the_request_says_itself(name: str) -> None:
    """The catalogue refuses such names; a request made by somebody else is safe all the same."""
    parameters = {"prompt": "evil", "model": "evil", "size": "1x1", "duration": 99, "seconds": "99"}
    async with RawServer([TAKEN]) as server:
        await submit(server, replace(asking(), parameters=parameters), name, image_transport="url")
    body = server.received[0].json
    assert body["prompt"] == "a cat"
    assert body["size"] == "1280x720"
    assert 8 in (body.get("duration"), int(body.get("seconds", 0)))


def test_the_built_in_parameters_are_those_with_a_source() -> None:
    catalogue = load_catalogue()
    known = {name: sorted(catalogue.model(name).parameters) for name in catalogue.names}
    assert known == {
        "sora-2": [],
        "sora-2-pro": [],
        "wan-2.6": ["negative_prompt", "seed"],
        "viduq3-pro": ["negative_prompt", "seed"],
        "dreamina-seedance-2-0-260128": ["seed"],
    }
    seed = catalogue.model("wan-2.6").parameters["seed"]
    assert (seed.type, seed.minimum, seed.maximum) == (ParameterType.INTEGER, 0, 2147483647)


def test_a_users_file_adds_parameters(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        "[models.sora-2.parameters]\n"
        'style = { type = "text", choices = ["anime", "general"] }\n'
        'strength = { type = "number", minimum = 0, maximum = 1.5 }\n'
        '[models."wan-2.6".parameters]\nloop = { type = "boolean" }\n'
    )
    catalogue = load_catalogue(path)
    sora = catalogue.model("sora-2").parameters
    assert (sora["style"].choices, sora["strength"].maximum) == (("anime", "general"), 1.5)
    assert sorted(catalogue.model("wan-2.6").parameters) == ["loop", "negative_prompt", "seed"]


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ('prompt = { type = "text" }', "prompt is a field of requests already"),
        ('n = { type = "integer" }', "n is a field"),
        ('"A b" = { type = "text" }', "A b"),
        ('seed = { type = "whole" }', "seed.type"),
        ('seed = { type = "text", minimum = 1 }', "for numbers"),
        ('seed = { type = "integer", max_chars = 1 }', "for text"),
        ('seed = { type = "integer", minimum = 2, maximum = 1 }', "greater"),
        ('seed = { type = "integer", step = 2 }', "step"),
    ],
)
def test_a_mistake_in_a_parameter_names_file_and_key(tmp_path: Path, entry: str, word: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(f"[models.sora-2.parameters]\n{entry}\n")
    with pytest.raises(CatalogueError) as refused:
        load_catalogue(path)
    assert str(path) in str(refused.value)
    assert word in str(refused.value)
