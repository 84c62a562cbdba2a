"""A video pipeline: everything that a Dagster code location needs to produce videos, under names of its own."""

import itertools
import re
import warnings
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from sora_pipeline.assets.decorators import clip_partitions
from sora_pipeline.assets.generations import build_generations
from sora_pipeline.assets.prompt_manifest import build_prompt_manifest
from sora_pipeline.assets.video_manifest import build_video_manifest
from sora_pipeline.assets.videos import build_videos
from sora_pipeline.automation.control import build_control_jobs
from sora_pipeline.automation.dispatch import build_dispatch_sensor
from sora_pipeline.automation.jobs import PipelineJobs, build_jobs
from sora_pipeline.automation.manifests import (
    build_manifest_file_sensor,
    build_manifest_request_sensor,
    build_manifest_schedule,
)
from sora_pipeline.automation.notifications import (
    build_failure_notification_sensor,
    build_finished_notification_sensor,
)
from sora_pipeline.automation.poll import build_poll_sensor
from sora_pipeline.automation.publish import build_publish_sensor
from sora_pipeline.checks import build_production_health, build_submits_allowed
from sora_pipeline.finished_check import build_finished
from sora_pipeline.freshness import freshness_policy
from sora_pipeline.names import GROUP, PipelineError, PipelineNames
from sora_pipeline.resources import RunLockResource
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.settings import Settings
from sora_pipeline.video import StoredVideo

if TYPE_CHECKING:
    import pandas as pd

    from sora_pipeline.production.delivered import DeliveredProduction

AssetName = Literal["prompt_manifest", "generations", "videos", "video_manifest"]

_KINDS: Mapping[AssetName, frozenset[str]] = {
    "prompt_manifest": frozenset({"csv", "parquet"}),
    "generations": frozenset({"python"}),
    "videos": frozenset({"video"}),
    "video_manifest": frozenset({"parquet", "csv"}),
}
_SCHEDULED: frozenset[AssetName] = frozenset({"prompt_manifest", "video_manifest"})
"""What each time of the schedule makes anew."""
OPTIONS = frozenset(
    [
        "automation_condition",
        "code_version",
        "deps",
        "description",
        "freshness_policy",
        "group_name",
        "kinds",
        "metadata",
        "op_tags",
        "owners",
        "pool",
        "tags",
    ]
)
"""What ``asset_options`` may choose; the rest is how the pipeline works."""


class VideoPipeline:
    """A manifest of prompts becomes checked videos: assets, partitions, jobs, sensors, a schedule and checks.

    Everything a pipeline makes is called after it, so that several fit into one code location, beside whatever else is
    there. Settings are what is given here, else the environment (``SORA_…``), else the default. They, and the
    secrets among them, stay in this object: nothing of them goes into Dagster's storage.

    Args:
        name: Letters, digits and underscores; it begins the names of jobs, sensors, schedule, partitions and resource.
            Empty: the pipeline of ``sora_pipeline.definitions``, without a prefix.
        key_prefix: Of the asset keys; None: the name.
        group_name: Of the assets.
        owners: Of the assets, as Dagster wants them: ``team:acme`` or an e-mail address; none: ``SORA_ASSET_OWNERS``.
        tags: Of the assets, beside the account's and the provider's name, which every asset has.
        settings: Taken instead of the environment.
        manifest: The input manifest that schedule and file sensor read: path or fsspec URI.
        output: Where videos and manifests go: path or fsspec URI.
        production: The name of the production that the manifest belongs to; None: the manifest's file stem.
        cron: When the manifest is read; None: the schedule waits to be switched on.
        cron_timezone: Time zone of the cron.
        executor: Of the pipeline's own jobs; those of the project keep theirs.
        more: Further fields of ``Settings``: ``provider``, ``base_url``, ``api_key``, ``budget_usd``, …
            A secret may be a ``dg.EnvVar``, which is read when it is needed.

    Attributes:
        names: What everything is called in Dagster.
        settings: The complete settings.
        clips: The partitions of ``generations`` and ``videos``, for assets that follow them clip by clip.
        prompt_manifest: The asset that reads the manifest.
        generations: The asset that submits clips.
        videos: The asset that stores their videos.
        video_manifest: The asset that publishes the output manifest.
        checks: The asset checks.
        jobs: One an asset, and those that people launch: a budget, a retry, another prompt.
        sensors: Dispatch, poll, publish and manifests; with ``notify_url`` the two that tell of ends and failures.
        schedules: The one that reads the manifest.
        resources: What the assets need beside the settings: a lock for each run.

    Raises:
        PipelineError: a name, key prefix, option or setting that cannot be; one sentence.
        SettingsError: a setting with a value that cannot be used.
    """

    def __init__(
        self,
        name: str = "",
        *,
        key_prefix: str | Sequence[str] | None = None,
        group_name: str | None = None,
        owners: Sequence[str] = (),
        tags: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        manifest: str | PathLike[str] | None = None,
        output: str | PathLike[str] | None = None,
        production: str | None = None,
        cron: str | None = None,
        cron_timezone: str | None = None,
        executor: dg.ExecutorDefinition = dg.in_process_executor,
        **more: Any,
    ) -> None:
        self.names = PipelineNames(name, key_prefix)
        arguments = {"manifest": manifest, "output": output, "cron": cron, "cron_timezone": cron_timezone}
        # None is a value among the further ones: a key that is empty must not be replaced by the environment's.
        given = more | {field: value for field, value in arguments.items() if value is not None}
        self.settings = _settings(settings, given)
        self._group_name = group_name or name or GROUP
        self._owners = _owners(owners) or self.settings.asset_owner_list
        self._tags = {**_account_tags(self.settings), **(tags or {})}
        self._runtime = PipelineRuntime(self.names, self.settings, production or "")
        self.clips = clip_partitions(self.names)
        self.resources = {self.names.run_lock: RunLockResource(folder=self.names.run_lock_folder)}
        try:
            self._build_assets()
            self._build_automation(executor)
        except dg.DagsterInvalidDefinitionError as error:
            raise PipelineError(f"{self._shown}: {' '.join(str(error).split())}") from None

    def asset_options(self, asset: AssetName) -> Mapping[str, Any]:
        """Keyword options of ``dg.asset`` for one of the four assets; override it where the arguments end.

        Begin with ``super().asset_options(asset)``. ``deps`` are added to the pipeline's own. How the asset works (its
        key, partitions, retries, backfill policy) is not to be chosen.
        """
        return {
            "group_name": self._group_name,
            "owners": self._owners,
            "tags": self._tags,
            "kinds": _KINDS[asset],
            "code_version": "1",
            "freshness_policy": freshness_policy(self.settings) if asset in _SCHEDULED else None,
        }

    def definitions(self) -> dg.Definitions:
        """Everything, to be merged with whatever else the code location holds."""
        return dg.Definitions(
            assets=[self.prompt_manifest, self.generations, self.videos, self.video_manifest],
            asset_checks=self.checks,
            jobs=self.jobs,
            sensors=self.sensors,
            schedules=self.schedules,
            resources=self.resources,
        )

    def video(self, partition_key: str) -> StoredVideo:
        """The video of a clip, for assets downstream of ``videos``: ``acme.video(context.partition_key).uri``.

        Raises:
            NotDeliveredError: there is no such clip, or it has no video.
        """
        from sora_pipeline.production.delivered import delivered_video

        return delivered_video(self._runtime.ledger, partition_key)

    def production(self, name: str) -> "DeliveredProduction":
        """A production of this pipeline, for code after it: ``acme.production("acme-daily").to_pandas()``.

        Raises:
            NotDeliveredError: it has none of this name.
        """
        from sora_pipeline.production.delivered import delivered_production

        return delivered_production(self._runtime.ledger, self.names.name, name)

    def costs(self, *by: str) -> "pd.DataFrame":
        """What this pipeline's productions were billed, summed up: ``acme.costs("production", "day")``.

        Args:
            by: ``day`` (UTC), ``model``, ``provider``, ``account``, ``production``, or a column of the manifests.

        Returns:
            One row a line, with ``clips``, ``attempts``, ``delivered``, ``spent_usd`` and ``simulated``.
        """
        from sora_pipeline.production.cost_table import cost_table

        ledger = self._runtime.ledger
        own_productions = [production.production_id for production in ledger.productions.all(self.names.name)]
        return cost_table(ledger, by or ("production",), own_productions)

    @staticmethod
    def merge(*pipelines: "VideoPipeline") -> dg.Definitions:
        """The definitions of several pipelines.

        Raises:
            PipelineError: two of them have the same name or the same asset keys, or one account stands for two.
        """
        for what in ("name", "key_prefix"):
            seen = [getattr(pipeline.names, what) for pipeline in pipelines]
            for value in seen:
                if seen.count(value) > 1:
                    shown = "/".join(value) if isinstance(value, tuple) else value
                    raise PipelineError(
                        f"two pipelines have the {what.replace('_', ' ')} {shown!r}; each needs one of its own"
                    )
        for one, other in itertools.combinations(pipelines, 2):
            _require_two_accounts(one.settings, other.settings)
        return dg.Definitions.merge(*(pipeline.definitions() for pipeline in pipelines))

    @property
    def _shown(self) -> str:
        return f"pipeline {self.names.name!r}" if self.names.name else "the pipeline"

    def _build_assets(self) -> None:
        runtime = self._runtime
        self.prompt_manifest = _linked(build_prompt_manifest(runtime, self._options("prompt_manifest")))
        self.generations = _linked(
            build_generations(runtime, self._options("generations", self.prompt_manifest))
        )
        self.videos = _linked(build_videos(runtime, self._options("videos", self.generations)))
        self.video_manifest = _linked(
            build_video_manifest(runtime, self._options("video_manifest", self.videos))
        )

    def _options(self, asset: AssetName, *after: dg.AssetsDefinition) -> dict[str, Any]:
        options = dict(self.asset_options(asset))
        if refused := sorted(options.keys() - OPTIONS):
            raise PipelineError(
                f"asset_options({asset!r}) of {self._shown} chooses {', '.join(refused)}; "
                f"it may choose {', '.join(sorted(OPTIONS))}"
            )
        return options | {"deps": [*after, *options.get("deps", ())]}

    def _build_automation(self, executor: dg.ExecutorDefinition) -> None:
        runtime = self._runtime
        after_publishing = [build_production_health(runtime), build_finished(runtime)]
        jobs = build_jobs(self.names, after_publishing, executor)
        self.checks = [*after_publishing, build_submits_allowed(runtime)]
        self.jobs = [*jobs.all(), *build_control_jobs(runtime, executor)]
        self.sensors = self._build_sensors(jobs)
        self.schedules = [build_manifest_schedule(runtime, jobs.manifest)]

    def _build_sensors(self, jobs: PipelineJobs) -> list[dg.SensorDefinition]:
        runtime = self._runtime
        sensors = [
            build_dispatch_sensor(runtime, jobs.generations),
            build_poll_sensor(runtime, jobs.videos),
            build_publish_sensor(runtime, jobs.publish),
            build_manifest_request_sensor(runtime, jobs.manifest),
            build_manifest_file_sensor(runtime, jobs.manifest),
        ]
        if self.settings.notify_url:
            sensors += [
                build_finished_notification_sensor(runtime),
                build_failure_notification_sensor(runtime, jobs.all()),
            ]
        return sensors


def _linked(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The asset with a link to its code, which the UI shows."""
    with warnings.catch_warnings():
        # They are marked beta; every process would print that, and no user can do anything about it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        (linked,) = dg.with_source_code_references([asset])
    assert isinstance(linked, dg.AssetsDefinition)
    return linked


def _account_tags(settings: Settings) -> dict[str, str]:
    """Who makes the clips, so that assets can be found by it."""
    values = {"sora/account": settings.account_name, "sora/provider": settings.provider}
    return {name: re.sub(r"[^A-Za-z0-9_.-]", "_", value)[:63] for name, value in values.items()}


def _settings(base: Settings | None, given: Mapping[str, Any]) -> Settings:
    """What is given, then what ``base`` says, or else the environment and the defaults."""
    known = {} if base is None else dict(base)
    values = {
        field: fspath(value) if isinstance(value, PathLike) else value for field, value in given.items()
    }
    return Settings.from_env(**known | values)


def _require_two_accounts(one: Settings, other: Settings) -> None:
    """Refuse one account name for two accounts: they would share slots, breaker and the day's budget."""
    if one.account_name != other.account_name or one.ledger_url != other.ledger_url:
        return
    for field in ("provider", "base_url", "api_key"):
        if getattr(one, field) != getattr(other, field):
            raise PipelineError(
                f"two pipelines name the account {one.account_name}, and differ in {field}; give each an account of its own: "
                "account=…"
            )


def _owners(owners: Sequence[str]) -> list[str]:
    if isinstance(owners, str):
        raise PipelineError(f"owners={owners!r}: a list of owners is needed, such as [{owners!r}]")
    return list(owners)
