from decimal import Decimal
from pathlib import Path

import pytest

from sora_pipeline.resources import ProviderResource, SettingsResource
from sora_pipeline.settings import Settings, SettingsProblem, dagster_home, ledger_url, variable

KEY = "sk-very-secret"


def test_nothing_set_is_the_sandbox_and_no_cost(tmp_path: Path) -> None:
    settings = Settings.from_env({})
    assert (settings.provider, settings.api_key, settings.budget_usd) == ("sandbox", None, None)
    assert Path(settings.output).is_absolute()


def test_empty_variables_count_as_not_set() -> None:
    assert Settings.from_env({variable(field): " " for field in Settings.model_fields}) == Settings.from_env(
        {}
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SORA_PROVIDER", "acme"),
        ("SORA_BASE_URL", "gptproto.com"),
        ("SORA_MAX_IN_FLIGHT", "many"),
        ("SORA_MAX_IN_FLIGHT", "0"),
        ("SORA_BATCH_SIZE", "-1"),
        ("SORA_SUBMITS_PER_MINUTE", "0"),
        ("SORA_POLL_INTERVAL_S", "0.1"),
        ("SORA_GENERATION_TIMEOUT_S", "soon"),
        ("SORA_MAX_ATTEMPTS", "0"),
        ("SORA_BUDGET_USD", "-5"),
        ("SORA_BUDGET_USD", "NaN"),
        ("SORA_IMAGE_FIT", "squeeze"),
        ("SORA_IMAGE_TRANSPORT", "pigeon"),
        ("SORA_AMBIGUOUS_SUBMIT", "maybe"),
    ],
)
def test_bad_value_names_its_variable_and_the_value(name: str, value: str) -> None:
    with pytest.raises(SettingsProblem) as caught:
        Settings.from_env({name: value})
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{name}={value}: ")


def test_every_bad_value_has_its_line() -> None:
    with pytest.raises(SettingsProblem) as caught:
        Settings.from_env({"SORA_BATCH_SIZE": "x", "SORA_MAX_ATTEMPTS": "y"})
    assert len(str(caught.value).splitlines()) == 2


def test_provider_that_costs_money_needs_a_key() -> None:
    with pytest.raises(SettingsProblem, match=r"SORA_API_KEY is not set.*SORA_PROVIDER=gptproto"):
        Settings.from_env({"SORA_PROVIDER": "gptproto"})
    for name in ("SORA_API_KEY", "GPTPROTO_API_KEY"):
        settings = Settings.from_env({"SORA_PROVIDER": "gptproto", name: KEY})
        assert settings.api_key is not None
        assert settings.api_key.get_secret_value() == KEY
        assert KEY not in repr(settings)


@pytest.mark.parametrize("spoilt", [f"{KEY} and more", f"{KEY}\u00a0"])
def test_key_that_cannot_be_one_is_refused_and_never_shown(
    spoilt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_PROVIDER", "gptproto")
    monkeypatch.setenv("SORA_API_KEY", spoilt + "x")
    with pytest.raises(SettingsProblem, match="SORA_API_KEY") as caught:
        ProviderResource(settings=SettingsResource.of(Settings.from_env())).config()
    assert KEY not in str(caught.value)


def test_bad_value_beside_a_key_does_not_show_the_key() -> None:
    with pytest.raises(SettingsProblem) as caught:
        Settings.from_env(
            {"SORA_PROVIDER": "acme", "SORA_API_KEY": KEY, "SORA_LEDGER_URL": f"x://me:{KEY}@db"}
        )
    assert KEY not in str(caught.value)


def test_budget_is_exact() -> None:
    assert Settings.from_env({"SORA_BUDGET_USD": "12.34"}).budget_usd == Decimal("12.34")


def test_home_and_ledger_without_settings_are_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = dagster_home({})
    assert home == tmp_path / ".sora"
    assert ledger_url(Settings.from_env({}), home) == f"sqlite:///{tmp_path / '.sora' / 'ledger.db'}"
    assert ledger_url(Settings.from_env({"SORA_LEDGER_URL": "postgresql://db"}), home) == "postgresql://db"
