"""What a command is told of a daemon that would not do its work."""

import pytest

from sora_pipeline import agreement
from sora_pipeline.agreement import DisagreementError, require_agreement, show_settings
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.pipelines import FRESH
from sora_pipeline_tests.conftest import Clock, settings_of


def test_daemon_of_other_pipelines_is_told_from_one_of_another_ledger(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "PATIENCE_S", 0.0)
    settings = settings_of()

    def refused(pipeline: str) -> str:
        with pytest.raises(DisagreementError) as caught:
            require_agreement(ledger, pipeline, settings, "/home")
        return str(caught.value)

    assert "another SORA_LEDGER_URL" in refused("")
    for name in ("zeta", "acme"):
        show_settings(ledger, name, settings)
    assert "serves the pipelines acme, zeta, and not what this command works with" in refused("")
    show_settings(ledger, "", settings)
    require_agreement(ledger, "", settings, "/home")
    assert "serves the built-in pipeline and the pipelines acme, zeta, and not" in refused("third")
    clock.turn(FRESH.total_seconds() + 1)
    assert "another SORA_LEDGER_URL" in refused("")
