"""How the assets of a pipeline are declared: those with a partition for every clip, and those of a whole manifest."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from sora_pipeline.names import PipelineNames

AssetDecorator = Callable[[Callable[..., Any]], dg.AssetsDefinition]


def clip_partitions(names: PipelineNames) -> dg.DynamicPartitionsDefinition:
    """The partitions of a pipeline's clips; those of equal names are the same for Dagster."""
    return dg.DynamicPartitionsDefinition(name=names.clips)


def clip_asset(names: PipelineNames, key: dg.AssetKey, *, options: Mapping[str, Any]) -> AssetDecorator:
    """Decorate an asset that has a partition for every clip, serves ranges in one run, and succeeds in part.

    It has no retry policy: Dagster would start a step over that a person terminates. A request that is refused is tried again
    by the run that sends it, and a run that breaks is requested again by the sensors.

    Args:
        names: Of the pipeline.
        key: Of the asset.
        options: What the pipeline's owner may choose, ``deps`` among it.
    """
    with warnings.catch_warnings():
        # Backfill policies are marked beta; every process would print that, and no user can do anything about it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        decorate: AssetDecorator = dg.asset(
            key=key,
            partitions_def=clip_partitions(names),
            required_resource_keys={names.run_lock},
            backfill_policy=dg.BackfillPolicy.single_run(),
            output_required=False,
            **options,
        )
    return decorate


def manifest_asset(
    names: PipelineNames, key: dg.AssetKey, *, options: Mapping[str, Any], always: bool = True
) -> AssetDecorator:
    """Decorate an asset that is one table of all clips.

    Args:
        names: Of the pipeline.
        key: Of the asset.
        options: What the pipeline's owner may choose, ``deps`` among it.
        always: Whether each run that ends well materializes it.
    """
    decorate: AssetDecorator = dg.asset(
        key=key, required_resource_keys={names.run_lock}, output_required=always, **options
    )
    return decorate
