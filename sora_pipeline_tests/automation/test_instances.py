"""Ticks of one daemon share an instance; those of two homes do not."""

from pathlib import Path

import dagster as dg

from sora_pipeline.automation.instances import instance_of


def context_of(instance: dg.DagsterInstance) -> dg.SensorEvaluationContext:
    """As the code server makes one for a tick."""
    return dg.SensorEvaluationContext(
        instance_ref=instance.get_ref(),
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        log_key=None,
        repository_name=None,
        repository_def=None,
    )


def test_ticks_share_an_instance(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        first, second = instance_of(context_of(instance)), instance_of(context_of(instance))
        assert first is second
        instance.add_dynamic_partitions("clips", ["a"])
        assert first.get_dynamic_partitions("clips") == ["a"]


def test_ticks_of_two_homes_do_not(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        dg.DagsterInstance.local_temp(str(tmp_path / "one")) as one,
        dg.DagsterInstance.local_temp(str(tmp_path / "two")) as two,
    ):
        two.add_dynamic_partitions("clips", ["of two"])
        for home in (one, two, one):
            found = instance_of(context_of(home))
            assert found.root_directory == home.root_directory
            assert found.get_dynamic_partitions("clips") == home.get_dynamic_partitions("clips")


def test_a_context_that_was_made_with_an_instance_keeps_it(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert instance_of(dg.build_sensor_context(instance=instance)) is instance
