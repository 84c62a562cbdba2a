import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr, ValidationError

from sora_pipeline import VideoPipeline
from sora_pipeline.runtime import provider_config
from sora_pipeline.settings import Settings, SettingsError, dagster_home, ledger_url, variable

KEY = "sk-very-secret"

Say = Callable[..., None]


@pytest.fixture
def postgres_url() -> None:
    """Settings are read without a database."""


@pytest.fixture(autouse=True)
def say(home: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    """Set variables in an environment that holds no setting."""
    for name in ("SORA_OUTPUT", "SORA_POLL_INTERVAL_S", "SORA_SUBMITS_PER_MINUTE"):
        monkeypatch.delenv(name)

    def say(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return say


def sentence(**given: Any) -> str:
    """The one sentence that is said of these settings."""
    with pytest.raises(SettingsError) as caught:
        Settings(**given)
    (line,) = str(caught.value).splitlines()
    return line


# --- the environment ---------------------------------------------------------------------------------------------------


def test_nothing_set_is_the_sandbox_and_no_cost() -> None:
    settings = Settings.from_env()
    assert (settings.provider, settings.api_key, settings.budget_usd) == ("sandbox", None, None)
    assert Path(settings.output).is_absolute()


def test_empty_variables_count_as_not_set(say: Say) -> None:
    before = Settings.from_env()
    say(**{variable(field): " " for field in Settings.model_fields}, SORA_WITHOUT_MEANING=" ")
    assert Settings.from_env() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SORA_PROVIDER", "acme"),
        ("SORA_ACCOUNT", "two words"),
        ("SORA_BASE_URL", "gptproto.com"),
        ("SORA_SUBMIT_PATH", "v1/videos"),
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
def test_bad_value_names_its_variable_and_the_value(say: Say, name: str, value: str) -> None:
    say(**{name: value})
    assert sentence().startswith(f"{name}={value}: ")


def test_every_problem_has_its_line(say: Say) -> None:
    say(SORA_BATCH_SIZE="x", SORA_MAX_ATTEMPTS="y", SORA_BUGET_USD="5")
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert len(str(caught.value).splitlines()) == 3


def test_provider_that_is_not_installed_names_those_that_are(say: Say) -> None:
    say(SORA_PROVIDER="acme")
    assert "installed: gptproto, gptproto-unified, openai-videos, sandbox" in sentence()


@pytest.mark.parametrize(
    ("name", "written", "meant"),
    [
        ("SORA_PROVIDER", "opanai-videos", "openai-videos"),
        ("SORA_PROVIDER", "opanai", "openai-videos"),
        ("SORA_PROVIDER", "GPTProto", "gptproto"),
        ("SORA_PROVIDER", "sandbx", "sandbox"),
        ("SORA_TABLE", "dleta", "delta"),
        ("SORA_IMAGE_FIT", "corp", ""),
        ("SORA_IMAGE_FIT", "strech", "stretch"),
        ("SORA_IMAGE_TRANSPORT", "data_uri", "data-uri"),
        ("SORA_AMBIGUOUS_SUBMIT", "re-submit", "resubmit"),
    ],
)
def test_a_word_that_is_nearly_an_allowed_one_is_asked_about(
    say: Say, name: str, written: str, meant: str
) -> None:
    say(**{name: written})
    said = sentence()
    assert said.startswith(f"{name}={written}: ")
    assert (f" Did you mean {meant}? " in said) if meant else ("Did you mean" not in said)
    assert "?." not in said
    assert ".." not in said


def test_unknown_variable_names_the_nearest_setting(say: Say) -> None:
    say(SORA_BUGET_USD="5")
    assert sentence() == "SORA_BUGET_USD is not a setting. Did you mean SORA_BUDGET_USD?"


def test_variables_of_the_sandbox_are_its_own(say: Say) -> None:
    say(SORA_SANDBOX_RENDER_S="1", SORA_SANDBOX_SOMETHING_NEW="2")
    assert Settings.from_env().provider == "sandbox"


def test_budget_is_exact(say: Say) -> None:
    say(SORA_BUDGET_USD="12.34")
    assert Settings.from_env().budget_usd == Decimal("12.34")


def test_account_is_the_provider_unless_it_is_named(say: Say) -> None:
    assert Settings.from_env().account_name == "sandbox"
    say(SORA_ACCOUNT="team-b")
    assert Settings.from_env().account_name == "team-b"


# --- given in code -----------------------------------------------------------------------------------------------------


def test_what_is_given_in_code_wins_secrets_included(say: Say) -> None:
    say(
        SORA_API_KEY="of the environment",
        SORA_LEDGER_URL="sqlite:///environment.db",
        SORA_NOTIFY_URL="https://environment.example",
        SORA_BUDGET_USD="1",
        SORA_MODEL="sora-2",
    )
    given: dict[str, Any] = {
        "api_key": KEY, "ledger_url": SecretStr("sqlite:///code.db"), "notify_url": "https://code.example", "budget_usd": None,
    }  # fmt: skip
    for settings in (Settings(**given), Settings.from_env(**given)):
        assert settings.secret_texts() == (KEY, "sqlite:///code.db", "https://code.example")
        assert (settings.budget_usd, settings.model) == (None, "sora-2")


def test_absent_secret_given_in_code_is_absent(say: Say) -> None:
    say(SORA_NOTIFY_URL="https://environment.example", SORA_LEDGER_URL="sqlite:///environment.db")
    settings = Settings(notify_url=None, ledger_url="")
    assert (settings.notify_url_text, settings.ledger_url_text) == ("", "")
    assert not settings.notify_url


def test_bad_value_given_in_code_names_the_argument(say: Say) -> None:
    say(SORA_BATCH_SIZE="7")
    assert sentence(batch_size=0).startswith("batch_size=0: ")
    assert sentence(provider="acme").startswith("provider=acme: no provider 'acme' is installed")
    assert sentence(buget_usd=5) == "buget_usd is not a setting. Did you mean budget_usd?"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().model = "sora-2"  # type: ignore[misc]


# --- secrets -----------------------------------------------------------------------------------------------------------


def test_provider_that_costs_money_needs_a_key(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    say(SORA_PROVIDER="gptproto")
    assert sentence().startswith("SORA_API_KEY is not set, and SORA_PROVIDER=gptproto needs a key")
    for name in ("SORA_API_KEY", "GPTPROTO_API_KEY"):
        monkeypatch.setenv(name, KEY)
        settings = Settings.from_env()
        monkeypatch.delenv(name)
        assert settings.api_key_text == KEY
        assert KEY not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("spoilt", [f"{KEY} and more", f"{KEY}\u00a0"])
def test_key_that_cannot_be_one_is_refused_and_never_shown(say: Say, spoilt: str) -> None:
    say(SORA_PROVIDER="gptproto", SORA_API_KEY=spoilt + "x")
    with pytest.raises(SettingsError, match="SORA_API_KEY") as caught:
        provider_config(Settings.from_env())
    assert KEY not in str(caught.value)


def test_no_error_shows_a_secret(say: Say) -> None:
    say(
        SORA_PROVIDER="acme",
        SORA_API_KEY=KEY,
        SORA_LEDGER_URL=f"x://me:{KEY}@db",
        SORA_NOTIFY_URL=f"ftp://{KEY}",
    )
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert KEY not in str(caught.value)
    assert "SORA_NOTIFY_URL: must be an address that begins with http" in str(caught.value)


@pytest.mark.parametrize(
    "given", [{"notify_url": f"ftp://{KEY}"}, {"api_key": [KEY]}, {"ledger_url": {"a": KEY}}]
)
def test_no_error_shows_a_secret_given_in_code(given: dict[str, Any]) -> None:
    (name,) = given
    line = sentence(**given)
    assert line.startswith(f"{name}: must be ")
    assert KEY not in line


def test_secret_in_a_variable_of_ones_own_is_read_when_it_is_needed(say: Say) -> None:
    say(SORA_API_KEY="of the environment")
    settings = Settings(provider="gptproto", api_key=dg.EnvVar("MY_KEY"), notify_url=dg.EnvVar("MY_HOOK"))
    assert VideoPipeline(settings=settings).definitions().resources
    assert settings.secret_texts() == ()
    with pytest.raises(SettingsError, match="MY_KEY is not set"):
        _ = settings.api_key_text
    say(MY_KEY=KEY)
    assert settings.api_key_text == KEY
    assert KEY not in repr(settings) + repr(settings.api_key) + settings.model_dump_json()


def test_variable_of_ones_own_is_for_secrets_only() -> None:
    assert sentence(model=dg.EnvVar("MY_MODEL")).startswith(
        "model: only api_key, ledger_url, notify_url can be"
    )
    given = dg.EnvVar("MY_KEY")
    assert Settings(api_key=given) == Settings(api_key=given) != Settings(api_key=dg.EnvVar("OTHER_KEY"))


def test_settings_need_neither_dagster_nor_http() -> None:
    heavy = "{'dagster', 'httpx', 'aiohttp'}"
    code = f"import sys; from sora_pipeline.settings import Settings; Settings(); print({heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# --- home, ledger ------------------------------------------------------------------------------------------------------


def test_home_and_ledger_without_settings_are_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = dagster_home({})
    assert home == tmp_path / ".sora"
    if not Settings().ledger_url:
        assert ledger_url(Settings(), home) == f"sqlite:///{tmp_path / '.sora' / 'ledger.db'}"
    assert ledger_url(Settings(ledger_url="postgresql://db"), home) == "postgresql://db"


@pytest.mark.parametrize("of_the_environment", ["", "of the environment"])
def test_empty_key_in_code_is_not_taken_from_the_environment(say: Say, of_the_environment: str) -> None:
    say(SORA_API_KEY=of_the_environment)
    for empty in ("", None):
        assert sentence(provider="gptproto", api_key=empty).startswith(
            "api_key is given in code and is empty"
        )
