"""The graph as users know it: an accidental change of a name or an arrow fails here."""

from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline.definitions import build_definitions
from sora_pipeline.settings import Settings, SettingsProblem


@pytest.fixture
def definitions(home: Path) -> dg.Definitions:
    return build_definitions(Settings.from_env())


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
    assert jobs == {"prompt_manifest_job", "generations_job", "videos_job", "video_manifest_job"}


def test_webhook_brings_two_sensors_along(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_NOTIFY_URL", "https://hooks.example/a-very-secret-address")
    told = build_definitions(Settings.from_env())
    running = {
        each.name
        for each in told.get_repository_def().sensor_defs
        if each.default_status is dg.DefaultSensorStatus.RUNNING and each.description
    }
    assert {"finished_notification_sensor", "failure_notification_sensor"} <= running
    assert "a-very-secret-address" not in repr(told.resources)


def test_every_asset_and_sensor_says_what_it_is(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert all(graph.get(key).description for key in graph.get_all_asset_keys())
    assert all(each.description for each in definitions.get_repository_def().sensor_defs)


def test_no_secret_is_among_the_resources_values(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SORA_API_KEY", "sk-very-secret")
    monkeypatch.setenv("SORA_LEDGER_URL", "postgresql+psycopg2://me:hidden@db/sora")
    shown = repr(build_definitions(Settings.from_env()).resources)
    assert "sk-very-secret" not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize(("cron", "zone"), [("every day", "UTC"), ("0 6 * * *", "Middle/Earth")])
def test_bad_schedule_names_its_variable(
    home: Path, monkeypatch: pytest.MonkeyPatch, cron: str, zone: str
) -> None:
    monkeypatch.setenv("SORA_CRON", cron)
    monkeypatch.setenv("SORA_CRON_TIMEZONE", zone)
    with pytest.raises(SettingsProblem, match="SORA_CRON"):
        build_definitions(Settings.from_env())
