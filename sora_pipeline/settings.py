"""The settings of this pipeline: every environment variable is read here and nowhere else.

A bad value is one sentence that names the variable, what was wrong and what is allowed.
"""

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from sora_pipeline.uris import absolute_uri

ProviderName = Literal["sandbox", "gptproto", "gptproto-unified", "openai-videos"]

API_KEY_VARIABLES = ("SORA_API_KEY", "GPTPROTO_API_KEY")
SECRET_FIELDS = ("api_key", "ledger_url", "notify_url")
"""Settings that may hold a secret, and are therefore never written anywhere."""


class SettingsProblem(Exception):
    """Raised where an environment variable has a value that cannot be used; the text is for people."""


class Settings(BaseModel):
    """Everything a production can be told from outside, with its defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    provider: ProviderName = Field(
        "sandbox",
        description="The provider's wire format; `sandbox` is the built-in emulator and costs nothing.",
    )
    base_url: str | None = Field(
        None, pattern=r"^https?://", description="The provider's address; each format has a default."
    )
    submit_path: str | None = Field(
        None,
        pattern="^/",
        description="Path of submits where the format's own has moved; may hold `{vendor}`, `{model}`, `{scene}`.",
    )
    api_key: SecretStr | None = Field(None, description="The provider's key. `GPTPROTO_API_KEY` is read too.")
    model: str = Field("sora-2-pro", min_length=1, description="The model of rows that name none.")
    catalogue: Path | None = Field(
        None,
        description="TOML file with more models, or other limits and prices, than the built-in catalogue.",
    )
    manifest: Annotated[str, AfterValidator(absolute_uri)] | None = Field(
        None, description="The input manifest that schedules and the file sensor use: path or fsspec URI."
    )
    output: Annotated[str, AfterValidator(absolute_uri)] = Field(
        "output", validate_default=True, description="Where videos and manifests go: path or fsspec URI."
    )
    ledger_url: str = Field(
        "", description="SQLAlchemy URL of the ledger; empty: SQLite inside `DAGSTER_HOME`."
    )
    max_in_flight: int = Field(
        20, ge=1, le=10_000, description="Clips that may be rendering at the provider at once."
    )
    batch_size: int = Field(50, ge=1, le=5_000, description="Clips that one Dagster run submits at most.")
    submits_per_minute: int = Field(
        120, ge=1, le=100_000, description="Submits a minute at most, over all runs of one process."
    )
    poll_interval_s: float = Field(
        5,
        ge=1,
        le=600,
        description="Seconds between two polls of the same prediction, and more as a render gets older.",
    )
    generation_timeout_s: float = Field(
        1800, ge=10, le=86_400, description="Seconds after which a rendering clip counts as timed out."
    )
    max_attempts: int = Field(
        3, ge=1, le=20, description="Attempts a clip, where the provider failed for reasons of its own."
    )
    budget_usd: Decimal | None = Field(
        None, ge=0, description="US dollars one production may cost; empty: no limit."
    )
    budget_daily_usd: Decimal | None = Field(
        None,
        ge=0,
        description="US dollars that all productions together may cost a day (UTC) at the provider; empty: no limit.",
    )
    max_policy_failures: int = Field(
        10,
        ge=0,
        le=10_000,
        description="Content-policy failures in a row after which submits stop: accounts get banned for them; 0: never.",
    )
    lease_s: float = Field(
        60,
        ge=5,
        le=600,
        description="Seconds without a sign of life after which another run takes over what a run was at.",
    )
    image_fit: Literal["error", "crop", "pad", "stretch"] = Field(
        "error", description="What to do with an image that has not the clip's size."
    )
    image_transport: Literal["auto", "url", "data-uri", "multipart"] = Field(
        "auto", description="How an image travels to the provider."
    )
    ambiguous_submit: Literal["hold", "resubmit"] = Field(
        "hold", description="What becomes of a clip whose submit lost its answer: it may have been billed."
    )
    allow_private_hosts: bool = Field(
        False,
        description="Whether output and image URLs may lead to private addresses; to the provider's own they may.",
    )
    notify_url: str = Field(
        "",
        pattern=r"^(https?://.*)?$",
        description="Webhook that is told of failed runs and finished productions, as Slack-compatible JSON.",
    )
    ui_url: str | None = Field(
        None, pattern=r"^https?://", description="Address of the Dagster UI, for links in notifications."
    )
    cron: str | None = Field(None, description="Cron schedule on which the manifest is produced.")
    cron_timezone: str = Field("UTC", description="Time zone of `SORA_CRON`.")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment; an empty variable counts as not set.

        Raises:
            SettingsProblem: one line for every variable whose value cannot be used.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for field in cls.model_fields:
            if field not in SECRET_FIELDS and (text := environ.get(variable(field), "").strip()):
                values[field] = text
        return cls.with_secrets(values, environ)

    @classmethod
    def with_secrets(cls, values: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> "Settings":
        """Complete settings with what only the environment may hold.

        Raises:
            SettingsProblem: as ``from_env``.
        """
        environ = os.environ if environ is None else environ
        keys = [text for name in API_KEY_VARIABLES if (text := environ.get(name, "").strip())]
        secrets = {
            "api_key": keys[0] if keys else None,
            "ledger_url": environ.get("SORA_LEDGER_URL", "").strip(),
            "notify_url": environ.get("SORA_NOTIFY_URL", "").strip(),
        }
        try:
            settings = cls.model_validate({**values, **secrets})
        except ValidationError as error:
            raise SettingsProblem("\n".join(_sentences(error))) from None
        if settings.provider != "sandbox" and settings.api_key is None:
            raise SettingsProblem(
                f"SORA_API_KEY is not set, and SORA_PROVIDER={settings.provider} needs a key. "
                "Set SORA_API_KEY (or GPTPROTO_API_KEY), or SORA_PROVIDER=sandbox to try without one."
            )
        return settings


def variable(field: str) -> str:
    """The environment variable that sets a field of ``Settings``."""
    return f"SORA_{field.upper()}"


def _sentences(error: ValidationError) -> list[str]:
    """One sentence a problem; the key's value is never repeated."""
    sentences = []
    for problem in error.errors():
        field = str(problem["loc"][0])
        shown = "" if field in SECRET_FIELDS else f"={problem['input']!s}"
        meaning = Settings.model_fields[field].description
        sentences.append(f"{variable(field)}{shown}: {problem['msg']}. It means: {meaning}")
    return sentences


def dagster_home(environ: Mapping[str, str] | None = None) -> Path:
    """The folder that holds Dagster's storage and, by default, the ledger.

    ``DAGSTER_HOME`` where it is set, else ``.sora`` in the current folder: Dagster itself would use temporary
    storage there, and forget which clips are paid for.
    """
    environ = os.environ if environ is None else environ
    return Path(environ.get("DAGSTER_HOME") or ".sora").expanduser().absolute()


def ledger_url(settings: Settings, home: Path) -> str:
    """The ledger's SQLAlchemy URL: ``SORA_LEDGER_URL``, or SQLite in the Dagster home."""
    return settings.ledger_url or f"sqlite:///{home / 'ledger.db'}"
