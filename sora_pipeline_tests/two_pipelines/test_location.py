"""Two pipelines in one code location, beside a project's own assets, executor and IO manager."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest

from sora_pipeline.ledger import Ledger
from sora_pipeline.names import CONTROL_JOBS
from sora_pipeline_tests.conftest import Sandbox, latest, rows_of, write_manifest

NAME = "sora_pipeline_tests.two_pipelines.location"


@pytest.fixture
def location(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, loaded as a process of this code location loads it."""
    monkeypatch.setenv("TWO_PIPELINES_FOLDER", str(tmp_path))
    monkeypatch.setenv("TWO_PIPELINES_ACME_URL", "http://127.0.0.1:9001")
    monkeypatch.setenv("TWO_PIPELINES_ZETA_URL", "http://127.0.0.1:9002")
    monkeypatch.setenv("TWO_PIPELINES_ACME_KEY", "key-of-acme")
    monkeypatch.setenv("TWO_PIPELINES_ZETA_KEY", "key-of-zeta")
    monkeypatch.setenv("SORA_API_KEY", "key-of-the-environment")
    monkeypatch.setenv("SORA_BUDGET_USD", "1")
    return importlib.reload(importlib.import_module(NAME))


def test_every_part_has_a_name_of_its_own(location: ModuleType) -> None:
    repository = location.defs.get_repository_def()
    dg.Definitions.validate_loadable(location.defs)
    parts = [
        "dispatch_sensor",
        "poll_sensor",
        "publish_sensor",
        "manifest_request_sensor",
        "manifest_file_sensor",
    ]
    sensors = {each.name for each in repository.sensor_defs}
    assert sensors == {f"{name}_{part}" for name in ("acme", "zeta") for part in parts} | {
        "project_automation",
        "holidays_sensor",
    }
    assert {each.name for each in repository.schedule_defs} == {
        "acme_manifest_schedule",
        "zeta_manifest_schedule",
    }
    jobs = {name for name in repository.job_names if not name.startswith("__")}
    each = ["prompt_manifest_job", "generations_job", "videos_job", "video_manifest_job", *CONTROL_JOBS]
    assert jobs == {f"{name}_{job}" for name in ("acme", "zeta") for job in each} | {
        "holidays_job",
        "upload_job",
    }
    assert (location.acme.clips.name, location.zeta.clips.name) == ("acme_clips", "zeta_clips")
    assert set(location.defs.resources) == {"acme_run_lock", "zeta_run_lock", "io_manager"}


def test_assets_follow_each_other_within_their_pipeline(location: ModuleType) -> None:
    graph = location.defs.resolve_asset_graph()
    arrows = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert arrows == {
        "brands/acme/prompt_manifest": set(),
        "brands/acme/generations": {"brands/acme/prompt_manifest"},
        "brands/acme/videos": {"brands/acme/generations"},
        "brands/acme/video_manifest": {"brands/acme/videos"},
        "zeta/prompt_manifest": set(),
        "zeta/generations": {"zeta/prompt_manifest"},
        "zeta/videos": {"zeta/generations"},
        "zeta/video_manifest": {"zeta/videos"},
        "upload": {"brands/acme/videos"},
        "report": {"brands/acme/video_manifest", "zeta/video_manifest"},
        "videos": set(),
    }
    video = graph.get(location.acme.videos.key)
    assert (video.group_name, video.owners) == ("acme_video", ["team:acme"])
    assert dict(video.tags)["brand"] == "acme"
    assert graph.get(dg.AssetKey("upload")).partitions_def == video.partitions_def


def test_settings_are_those_given_in_code_and_not_the_environments(location: ModuleType) -> None:
    acme, zeta = location.acme.settings, location.zeta.settings
    keys = [each.api_key.get_secret_value() for each in (acme, zeta)]
    assert keys == ["key-of-acme", "key-of-zeta"]
    assert (acme.base_url, zeta.base_url) == ("http://127.0.0.1:9001", "http://127.0.0.1:9002")
    assert (acme.provider, zeta.provider) == ("sandbox", "openai-videos")
    assert (acme.account_name, zeta.account_name) == ("acme", "zeta")
    assert (acme.budget_usd, zeta.budget_usd) == (10, 5)
    assert acme.manifest.endswith("/acme.csv")
    assert zeta.output.endswith("/zeta")
    assert (acme.cron, acme.cron_timezone, zeta.cron) == ("0 6 * * *", "Europe/Berlin", "30 7 * * 1-5")


def test_projects_own_jobs_keep_their_executor_and_ours_have_theirs(location: ModuleType) -> None:
    def executor(job: str) -> str:
        return str(location.defs.resolve_job_def(job).executor_def.name)

    assert executor("holidays_job") == "multiprocess"
    assert executor("acme_generations_job") == executor("zeta_video_manifest_job") == "in_process"


def test_no_secret_is_in_what_dagster_stores(location: ModuleType) -> None:
    shown = repr(location.defs.resources) + "".join(
        repr(location.defs.resolve_job_def(f"{name}_generations_job").run_config) for name in ("acme", "zeta")
    )
    assert "key-of" not in shown


def test_reloading_the_code_location_is_no_second_pipeline(location: ModuleType) -> None:
    again = importlib.reload(location)
    dg.Definitions.validate_loadable(again.defs)


def test_each_reads_its_own_manifest_into_its_own_partitions(
    location: ModuleType, ledger: Ledger, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    write_manifest(tmp_path / "acme.csv", rows_of(a="a fox", both="a bear"))
    write_manifest(tmp_path / "zeta.csv", rows_of(z="an owl", both="a lion"))
    for name in ("acme", "zeta"):
        job = location.defs.resolve_job_def(f"{name}_prompt_manifest_job")
        assert job.execute_in_process(instance=instance).success
    assert instance.get_dynamic_partitions("acme_clips") == ["acme:a", "acme:both"]
    assert instance.get_dynamic_partitions("zeta_clips") == ["zeta:z", "zeta:both"]
    for name, budget in (("acme", 10), ("zeta", 5)):
        (made,) = ledger.productions.all(name)
        assert (made.production_id, made.account, made.budget_usd) == (name, name, budget)
        assert made.output_uri == str(tmp_path / name / name)


def test_downstream_assets_of_the_project_run_with_its_io_manager(
    location: ModuleType, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    instance.add_dynamic_partitions("acme_clips", ["acme:a"])
    job = location.defs.resolve_job_def("upload_job")
    assert job.execute_in_process(instance=instance, partition_key="acme:a").success
    assert (tmp_path / "texts" / "upload-acme:a").read_text() == "uploaded acme:a"


def test_clip_of_one_pipeline_is_submitted_to_its_own_provider(
    location: ModuleType,
    ledger: Ledger,
    instance: dg.DagsterInstance,
    sandbox: Sandbox,
    impatient: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other pipeline's address answers nobody, so a clip that went there would fail."""
    monkeypatch.setenv("TWO_PIPELINES_ACME_URL", sandbox.url)
    monkeypatch.setenv("TWO_PIPELINES_ACME_KEY", sandbox.endpoint.api_key)
    again = importlib.reload(location)
    write_manifest(tmp_path / "acme.csv", rows_of(a="a fox"))
    read = again.defs.resolve_job_def("acme_prompt_manifest_job")
    assert read.execute_in_process(instance=instance).success
    submit = again.defs.resolve_job_def("acme_generations_job")
    assert submit.execute_in_process(instance=instance, partition_key="acme:a").success
    assert sandbox.billed == 1
    assert latest(ledger, "a", "acme").account.name == "acme"
    assert list(home_locks(tmp_path)) == ["acme_run_lock"]


def home_locks(folder: Path) -> Iterator[str]:
    """Which pipelines had runs here."""
    for path in sorted((folder / "home").glob("*run_lock")):
        yield path.name
