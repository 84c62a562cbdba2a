"""The graph as users know it: an accidental change of a name or an arrow fails here."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from sora_pipeline import VideoPipeline
from sora_pipeline.names import PipelineError, op_of
from sora_pipeline.pipeline import AssetName
from sora_pipeline.runtime import provider_config
from sora_pipeline.settings import Settings, SettingsError


@pytest.fixture
def definitions(home: Path) -> dg.Definitions:
    return VideoPipeline().definitions()


def test_assets_and_what_they_follow(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    arrows = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert arrows == {
        "prompt_manifest": set(),
        "generations": {"prompt_manifest"},
        "videos": {"generations"},
        "video_manifest": {"videos"},
    }
    partitioned = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).partitions_def is not None
    }
    assert partitioned == {"generations", "videos"}


def test_sensors_schedule_and_jobs(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    sensors = {
        each.name: each.default_status is dg.DefaultSensorStatus.RUNNING for each in repository.sensor_defs
    }
    assert sensors == {
        "dispatch_sensor": True,
        "poll_sensor": True,
        "publish_sensor": True,
        "manifest_request_sensor": True,
        "manifest_file_sensor": False,
    }
    assert {each.name for each in repository.schedule_defs} == {"manifest_schedule"}
    jobs = {name for name in repository.job_names if not name.startswith("__")}
    assert jobs == {
        "prompt_manifest_job",
        "generations_job",
        "videos_job",
        "video_manifest_job",
        "set_budget_job",
        "retry_job",
        "change_prompt_job",
        "pause_job",
        "resume_job",
        "cancel_job",
    }
    assert all(repository.get_job(name).description for name in jobs)


def test_webhook_brings_two_sensors_along(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_NOTIFY_URL", "https://hooks.example/a-very-secret-address")
    told = VideoPipeline().definitions()
    running = {
        each.name
        for each in told.get_repository_def().sensor_defs
        if each.default_status is dg.DefaultSensorStatus.RUNNING and each.description
    }
    assert {"finished_notification_sensor", "failure_notification_sensor"} <= running
    assert "a-very-secret-address" not in repr(told.resources)


def test_partitions_resource_and_checks_of_the_built_in_pipeline(definitions: dg.Definitions) -> None:
    assert VideoPipeline().clips.name == "sora_clips"
    assert set(definitions.resources or {}) == {"sora_run_lock"}
    assert definitions.executor is None, "it would be that of every job of the project"
    checks = {key.to_user_string() for key in definitions.resolve_asset_graph().asset_check_keys}
    assert checks == {
        "generations:submits_allowed",
        "video_manifest:all_delivered",
        "video_manifest:every_row_is_there",
        "video_manifest:finished",
        "video_manifest:spend_is_the_ledgers",
        "videos:files_are_whole",
        "videos:none_ambiguous",
        "videos:size_and_duration_as_asked",
    }


def test_run_config_names_an_asset_as_dagster_does(home: Path) -> None:
    pipeline = VideoPipeline()
    assets = (pipeline.prompt_manifest, pipeline.generations, pipeline.videos, pipeline.video_manifest)
    assert [asset.op.name for asset in assets] == [
        "prompt_manifest",
        "generations",
        "videos",
        "video_manifest",
    ]
    prefixed = VideoPipeline("acme", key_prefix=["our-brands", "acme"]).videos
    assert op_of(prefixed.key) == prefixed.op.name


def test_every_asset_and_sensor_says_what_it_is(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert all(graph.get(key).description for key in graph.get_all_asset_keys())
    assert all(each.description for each in definitions.get_repository_def().sensor_defs)


def test_no_secret_is_among_the_resources_values(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_API_KEY", "sk-very-secret")
    monkeypatch.setenv("SORA_LEDGER_URL", "postgresql+psycopg2://me:hidden@db/sora")
    shown = repr(VideoPipeline().definitions().resources)
    assert "sk-very-secret" not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(("cron", "zone"), [("every day", "UTC"), ("0 6 * * *", "Middle/Earth")])
def test_bad_schedule_names_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch, cron: str, zone: str
) -> None:
    monkeypatch.setenv("SORA_CRON", cron)
    monkeypatch.setenv("SORA_CRON_TIMEZONE", zone)
    with pytest.raises(SettingsError, match="SORA_CRON"):
        VideoPipeline().definitions()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "acme video"}, "name='acme video'"),
        ({"name": "1"}, "begins with a letter"),
        ({"key_prefix": ["a", "b/c"]}, "key_prefix="),
        ({"group_name": "a b"}, "not a valid asset group name"),
        ({"owners": "team:acme"}, r"a list of owners is needed, such as \['team:acme'\]"),
        ({"owners": ["acme"]}, "team:"),
        ({"buget_usd": 5}, "buget_usd is not a setting. Did you mean budget_usd"),
        ({"budget_usd": "much"}, "budget_usd=much"),
        ({"settings": Settings(), "budget_usd": "much"}, "budget_usd=much"),
        ({"batch_size": None}, "batch_size=None"),
        ({"provider": "gptproto", "api_key": ""}, "api_key is given in code and is empty"),
        ({"provider": "gptproto", "api_key": None}, "api_key is given in code and is empty"),
        ({"settings": Settings(), "provider": "gptproto", "api_key": " "}, "api_key is given in code and is"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], sentence: str
) -> None:
    """A key that is given but empty is never replaced by another account's, which the environment has."""
    monkeypatch.setenv("SORA_API_KEY", "of-another-account")
    with pytest.raises((PipelineError, SettingsError), match=sentence) as caught:
        VideoPipeline(**arguments)
    assert len(str(caught.value).splitlines()) == 1
    assert "of-another-account" not in str(caught.value)


def test_key_in_a_variable_that_is_not_set_loads_and_pays_for_nothing(home: Path) -> None:
    pipeline = VideoPipeline(provider="gptproto", api_key=dg.EnvVar("NOT_SET_HERE"))
    dg.Definitions.validate_loadable(pipeline.definitions())
    with pytest.raises(SettingsError, match="NOT_SET_HERE is not set"):
        provider_config(pipeline.settings)


def test_what_is_given_in_code_goes_before_the_environment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_API_KEY", "environment")
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "7")
    monkeypatch.setenv("SORA_BUDGET_USD", "1")
    monkeypatch.setenv("SORA_OUTPUT", "/environment")
    monkeypatch.setenv("ACME_KEY", "variable")
    settings = VideoPipeline(provider="gptproto", api_key=dg.EnvVar("ACME_KEY"), budget_usd=5).settings
    assert (settings.api_key_text, settings.max_in_flight, settings.budget_usd) == ("variable", 7, 5)
    base = Settings(api_key=SecretStr("code"), budget_usd=4)
    alone = VideoPipeline(settings=base, batch_size=3, output="/code").settings
    assert (alone.api_key_text, alone.budget_usd) == ("code", 4)
    assert (alone.max_in_flight, alone.batch_size, alone.output) == (7, 3, "/code")
    assert VideoPipeline(budget_usd=None).settings.budget_usd is None, "no limit is something to say, too"
    assert VideoPipeline(output=None).settings.output == "/environment", "nothing was said"


def test_settings_given_to_a_pipeline_stay_what_they_were(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings are complete once they are made: the environment of a later process does not change them."""
    base = Settings(api_key="code")
    monkeypatch.setenv("SORA_API_KEY", "environment")
    monkeypatch.setenv("SORA_BUDGET_USD", "1")
    settings = VideoPipeline(settings=base).settings
    assert (settings.api_key_text, settings.budget_usd) == ("code", None)


def test_one_account_for_two_providers_is_refused(home: Path) -> None:
    def pipeline(name: str, **settings: Any) -> VideoPipeline:
        return VideoPipeline(name, **{"api_key": "one", "base_url": "http://127.0.0.1:9"} | settings)

    acme = pipeline("acme")
    for other in ({"base_url": "http://127.0.0.1:10"}, {"api_key": "another"}):
        with pytest.raises(
            PipelineError, match="two pipelines name the account sandbox, and differ in"
        ) as no:
            VideoPipeline.merge(acme, pipeline("zeta", **other))
        assert len(str(no.value).splitlines()) == 1
        VideoPipeline.merge(acme, pipeline("zeta", account="zeta", **other))
        VideoPipeline.merge(acme, pipeline("zeta", ledger_url="sqlite:////elsewhere.db", **other))
    VideoPipeline.merge(acme, pipeline("zeta"))


def test_two_pipelines_of_one_name_are_refused(home: Path) -> None:
    acme = VideoPipeline("acme")
    with pytest.raises(PipelineError, match="two pipelines have the name 'acme'"):
        VideoPipeline.merge(acme, VideoPipeline("acme", key_prefix="other"))
    with pytest.raises(PipelineError, match="two pipelines have the key prefix 'acme'"):
        VideoPipeline.merge(acme, VideoPipeline("other", key_prefix="acme"))
    with pytest.raises(dg.DagsterInvariantViolationError, match="acme_run_lock"):
        dg.Definitions.merge(acme.definitions(), VideoPipeline("acme").definitions())
    dg.Definitions.validate_loadable(VideoPipeline.merge(acme, VideoPipeline("zeta"), VideoPipeline()))


class Described(VideoPipeline):
    """A pipeline whose owner goes beyond the arguments."""

    def asset_options(self, asset: AssetName) -> Mapping[str, Any]:
        more = {"metadata": {"campaign": "autumn"}, "deps": ["prompts_from_the_crm"]}
        return {**super().asset_options(asset), **(more if asset == "prompt_manifest" else {})}


class Broken(VideoPipeline):
    """A pipeline whose owner changes how it works."""

    def asset_options(self, asset: AssetName) -> Mapping[str, Any]:
        return {**super().asset_options(asset), "partitions_def": None}


def test_options_of_an_asset_can_be_overridden(home: Path) -> None:
    manifest = Described("acme").prompt_manifest
    assert manifest.metadata_by_key[manifest.key]["campaign"] == "autumn"
    assert manifest.asset_deps[manifest.key] == {dg.AssetKey("prompts_from_the_crm")}
    with pytest.raises(PipelineError, match="chooses partitions_def; it may choose"):
        Broken("acme")


def test_package_alone_imports_no_dagster() -> None:
    code = "import sys, sora_pipeline; sora_pipeline.Settings; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_assets_say_whose_they_are_and_where_their_code_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_ASSET_OWNERS", "team:video, ada@acme.example")
    graph = VideoPipeline(tags={"brand": "acme"}).definitions().resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert list(node.owners) == ["team:video", "ada@acme.example"]
        assert (
            node.tags.items()
            >= {"brand": "acme", "sora/account": "sandbox", "sora/provider": "sandbox"}.items()
        )
        assert node.kinds
        (reference,) = node.metadata["dagster/code_references"].code_references
        assert Path(reference.file_path).name == f"{key.path[-1]}.py"
        assert reference.line_number > 1
    owned = VideoPipeline("acme", owners=["team:acme"]).definitions().resolve_asset_graph()
    assert {tuple(owned.get(key).owners) for key in owned.get_all_asset_keys()} == {("team:acme",)}


def test_owner_that_is_none_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_ASSET_OWNERS", "team:video,ada")
    with pytest.raises(
        SettingsError, match="SORA_ASSET_OWNERS=team:video,ada: 'ada' is no owner; each is team:name"
    ):
        VideoPipeline()


@pytest.mark.parametrize(
    ("cron", "deadline"),
    [
        ("0 6 * * *", "30 6 * * *"),
        ("45 6 * * 1-5", "59 6 * * 1-5"),
        ("*/10 * * * *", None),
        ("59 6 * * *", None),
        ("@daily", None),
        ("", None),
    ],
)
def test_manifests_of_a_schedule_are_to_be_fresh(
    home: Path, monkeypatch: pytest.MonkeyPatch, cron: str, deadline: str | None
) -> None:
    monkeypatch.setenv("SORA_CRON", cron)
    monkeypatch.setenv("SORA_CRON_TIMEZONE", "Europe/Berlin")
    graph = VideoPipeline().definitions().resolve_asset_graph()
    policies = {key.path[-1]: graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
    assert policies["generations"] is policies["videos"] is None
    for name in ("prompt_manifest", "video_manifest"):
        shown = policies[name]
        assert (getattr(shown, "deadline_cron", None), getattr(shown, "timezone", None)) == (
            deadline,
            deadline and "Europe/Berlin",
        )
