from pathlib import Path

import dagster as dg
import pytest
import yaml

from sora_pipeline.headless.home import prepare_home


def test_home_is_made_with_a_configuration_that_is_the_users_to_change(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "new" / "home"))
    made = prepare_home()
    config = yaml.safe_load((made / "dagster.yaml").read_text())
    assert config["run_retries"]["retry_on_asset_or_op_failure"] is False, "it would pay twice"
    (made / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    prepare_home()
    assert (made / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    with dg.DagsterInstance.get() as instance:
        assert instance.root_directory == str(made)
