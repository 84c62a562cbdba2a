"""The settings of this pipeline: given in code, else by an environment variable, else the default.

Every environment variable is read here and nowhere else. A bad value is one sentence that names the variable or the
argument, what was wrong and what is allowed; a secret's value is in none of them.
"""

import importlib.util
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    Field,
    InstanceOf,
    PlainSerializer,
    SecretStr,
    ValidationError,
    WrapValidator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic.functional_validators import ModelWrapValidatorHandler
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sora_pipeline.advice import ADVICE, ended
from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.suggestions import did_you_mean
from sora_pipeline.uris import Uri, absolute_uri, shown_uri, why_no_output, without_secrets

PREFIX = "SORA_"
SANDBOX_PREFIX = "SORA_SANDBOX_"
"""Variables of the sandbox, which reads them itself."""
API_KEY_VARIABLES = ("SORA_API_KEY", "GPTPROTO_API_KEY")
SECRET_FIELDS = ("api_key", "ledger_url", "notify_url")
"""Settings that may hold a secret, and are therefore never written anywhere."""

MOST_BUDGET_USD = 1_000_000_000

_HTTP = re.compile(r"https?://\S+", re.IGNORECASE)
_OWNER = re.compile(r"team:[A-Za-z0-9_.-]+|[^@\s,]+@[^@\s,]+\.[^@\s,]+")
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SettingsError(SoraPipelineError):
    """Raised where a setting has a value that cannot be used; the text is for people."""


class VariableSecret(SecretStr):
    """A secret that is in an environment variable of the user's choice, and is read when it is needed.

    What Dagster calls ``EnvVar``: a code location loads without it, a run that needs it does not start without it.
    """

    def __init__(self, variable: str) -> None:
        super().__init__(f"${variable}")
        self.variable = variable

    def get_secret_value(self) -> str:
        """What the variable holds.

        Raises:
            SettingsError: it is not set.
        """
        if not (text := os.environ.get(self.variable, "").strip()):
            raise SettingsError(
                f"{self.variable} is not set, and a secret of the settings is to be read from it; set {self.variable}"
            )
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VariableSecret) and self.variable == other.variable

    def __hash__(self) -> int:
        return hash(self.variable)


def _secret(value: object, _handler: object) -> SecretStr | None:
    """A secret given as text, as ``SecretStr``, or as the name of a variable (``dagster.EnvVar``)."""
    if value is None or isinstance(value, SecretStr):
        # A variable that is read later is not looked into now.
        return value if isinstance(value, VariableSecret) or (value and value.get_secret_value()) else None
    if isinstance(name := getattr(value, "env_var_name", None), str):
        return VariableSecret(name)
    if not isinstance(value, str):
        raise ValueError("must be text, a SecretStr or a dagster.EnvVar")
    return SecretStr(value.strip()) if value.strip() else None


def _http_secret(secret: SecretStr | None) -> SecretStr | None:
    if secret is None or isinstance(secret, VariableSecret) or _HTTP.fullmatch(secret.get_secret_value()):
        return secret
    raise ValueError("must be an address that begins with http:// or https://")


def _http_address(text: str) -> str:
    if not _HTTP.fullmatch(text):
        raise ValueError("must be an address that begins with http:// or https://")
    if shown_uri(text) != text:
        raise ValueError("must hold no user, password, query or fragment")
    return text


def _output(text: str) -> str:
    if shown_uri(text) != text:
        raise ValueError(
            f"must hold no password, query or fragment. {ADVICE['secret_in_output'].rstrip('.')}"
        )
    if (problem := why_no_output(text)) is not None:
        raise ValueError(problem)
    return absolute_uri(text)


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError("must begin with /")
    return text


def _table(kind: str) -> str:
    if kind == "delta" and importlib.util.find_spec("deltalake") is None:
        raise ValueError(f"needs a package that is not installed. {ADVICE['delta_package']}")
    return kind


def _installed(name: str) -> str:
    """A provider that is installed; its code is not loaded."""
    from sora_pipeline.provider.registry import entry_of

    entry_of(name)
    return name


def _account(name: str) -> str:
    if not _ACCOUNT.fullmatch(name):
        raise ValueError(
            "must be 1 to 64 letters, digits, dots, dashes or underscores, and begin with a letter or a digit"
        )
    return name


def _owners(text: str) -> str:
    """Owners as Dagster wants them."""
    for owner in text.split(","):
        if not _OWNER.fullmatch(owner.strip()):
            raise ValueError(f"{owner.strip()!r} is no owner; each is team:name or an e-mail address")
    return text


Secret = Annotated[
    InstanceOf[SecretStr] | None,
    WrapValidator(_secret),
    PlainSerializer(lambda secret: None if secret is None else "**********", return_type=str | None),
]


class _Environment(PydanticBaseSettingsSource):
    """The environment's variables; an empty one counts as not set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """What the environment says of a field."""
        return _environment_value(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """What it says of all of them."""
        values = {name: _environment_value(name) for name in self.settings_cls.model_fields}
        return {name: text for name, text in values.items() if text}


def _environment_value(field: str) -> str:
    """What the environment says of a field; empty: nothing."""
    return next((text for name in _variables(field) if (text := os.environ.get(name, "").strip())), "")


def _variables(field: str) -> tuple[str, ...]:
    """The variables that set a field, the first one first."""
    return API_KEY_VARIABLES if field == "api_key" else (variable(field),)


class Settings(BaseSettings):
    """Everything a pipeline can be told from outside, with its defaults.

    A value given in code is used as it is given; else the environment variable ``SORA_<NAME>`` counts, else the default.

    Raises:
        SettingsError: one line for every value that cannot be used, and for every variable that is no setting.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    provider: Annotated[str, AfterValidator(_installed)] = Field(
        "sandbox",
        description="The provider, as it is installed; `sandbox` is the built-in emulator and costs nothing.",
    )
    account: Annotated[str, AfterValidator(_account)] | None = Field(
        None,
        description="Name of the provider account: what slots, rate, pauses, breaker and the day's budget belong to. "
        "Default: the provider's name.",
    )
    base_url: Annotated[str, AfterValidator(_http_address)] | None = Field(
        None, description="The provider's address; most providers have a default."
    )
    submit_path: Annotated[str, AfterValidator(_path)] | None = Field(
        None,
        description="Path of submits where the format's own has moved; may hold `{vendor}`, `{model}`, `{scene}`.",
    )
    api_key: Secret = Field(None, description="The provider's key. `GPTPROTO_API_KEY` is read too.")
    model: str = Field("sora-2-pro", min_length=1, description="The model of rows that name none.")
    catalogue: Path | None = Field(
        None,
        description="TOML file with more models, or other limits and prices, than the built-in catalogue.",
    )
    manifest: Annotated[Uri, AfterValidator(absolute_uri)] | None = Field(
        None, description="The input manifest that schedules and the file sensor use: path or fsspec URI."
    )
    output: Annotated[str, AfterValidator(_output)] = Field(
        "output",
        validate_default=True,
        description="Folder below which each production gets one of its own: path or fsspec URI.",
    )
    table: Annotated[Literal["none", "delta"], AfterValidator(_table)] = Field(
        "none",
        description="`delta`: what a production has come to when it has finished or stops is a version of a Delta table in its output, too.",
    )
    ledger_url: Secret = Field(
        None, description="SQLAlchemy URL of the ledger; empty: SQLite inside `DAGSTER_HOME`."
    )
    max_in_flight: int = Field(
        20, ge=1, le=10_000, description="Clips that may be rendering at the account at once."
    )
    batch_size: int = Field(500, ge=1, le=5_000, description="Clips that one Dagster run owns at most.")
    idle_s: float = Field(
        300,
        ge=1,
        le=86_400,
        description="Seconds that a run waits for slots or renders without anything to do, before it leaves them to a later run.",
    )
    submits_per_minute: int = Field(
        120,
        ge=1,
        le=100_000,
        description="Submits a minute at most, over everything that works with the ledger.",
    )
    poll_interval_s: float = Field(
        5,
        ge=1,
        le=600,
        description="Seconds between two polls of the same prediction while little is known of how long renders take; then they are "
        "polled when most ended lately, and never closer together than a fifth of this, or a second.",
    )
    generation_timeout_s: float = Field(
        1800, ge=10, le=86_400, description="Seconds after which a rendering clip counts as timed out."
    )
    max_attempts: int = Field(
        3, ge=1, le=20, description="Attempts a clip, where the provider failed for reasons of its own."
    )
    budget_usd: Decimal | None = Field(
        None, ge=0, le=MOST_BUDGET_USD, description="US dollars one production may cost; empty: no limit."
    )
    budget_daily_usd: Decimal | None = Field(
        None,
        ge=0,
        le=MOST_BUDGET_USD,
        description="US dollars that all productions together may cost a day (UTC) at the account; empty: no limit.",
    )
    max_policy_failures: int = Field(
        10,
        ge=0,
        le=10_000,
        description="Failures in a row that may be the clips' own fault (content policy first of all) after which submits stop: accounts "
        "get banned for them; 0: never.",
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
    server_errors_unbilled: bool = Field(
        False,
        description="Whether the provider is known never to bill a submit that it answers with HTTP 500, 502, 503 or 504: it is "
        "sent again then, and not held as perhaps billed.",
    )
    allow_private_hosts: bool = Field(
        False,
        description="Whether output and image URLs may lead to private addresses; to the provider's own they may.",
    )
    notify_url: Annotated[Secret, AfterValidator(_http_secret)] = Field(
        None,
        description="Webhook that is told of failed runs and finished productions, as Slack-compatible JSON.",
    )
    ui_url: Annotated[str, AfterValidator(_http_address)] | None = Field(
        None, description="Address of the Dagster UI, for links in notifications."
    )
    media_url: Annotated[str, AfterValidator(_http_address)] | None = Field(
        None,
        description="Address of the media server, for pictures and links to videos in the Dagster UI; empty: "
        "`http://127.0.0.1:3001`, where `sora-pipeline dev` serves them.",
    )
    public_url: Annotated[str, AfterValidator(_http_address)] | None = Field(
        None,
        description="Web address of the folder `SORA_OUTPUT`, where browsers may read it: a public bucket, a CDN, a web server. "
        "Links to galleries, videos and pictures then lead there.",
    )
    asset_owners: Annotated[str, AfterValidator(_owners)] | None = Field(
        None,
        description="Owners of the assets in the Dagster UI, where code names none: `team:video, ada@acme.example`.",
    )
    cron: str | None = Field(None, description="Cron schedule on which the manifest is produced.")
    cron_timezone: str = Field("UTC", description="Time zone of `SORA_CRON`.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Code before environment; no files."""
        return init_settings, _Environment(settings_cls)

    @model_validator(mode="wrap")
    @classmethod
    def _one_sentence_a_problem(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        problems = _unknown_variables() + _misplaced_variables(values)
        try:
            settings = handler(values)
        except ValidationError as error:
            problems += [_sentence(problem) for problem in error.errors(include_url=False)]
            raise SettingsError("\n".join(problems)) from None
        problems += _unusable_provider(settings)
        if problems:
            raise SettingsError("\n".join(problems))
        return settings

    @property
    def asset_owner_list(self) -> list[str]:
        """Owners of the assets, each by itself."""
        return [owner.strip() for owner in (self.asset_owners or "").split(",") if owner.strip()]

    @classmethod
    def from_env(cls, **given: Any) -> Self:
        """The settings of the environment, with what is given in code before it.

        Raises:
            SettingsError: one line for every problem.
        """
        return cls(**given)

    @classmethod
    def with_secrets(cls, values: Mapping[str, Any]) -> Self:
        """Complete settings from what was written down of them: secrets from the environment, the rest from nowhere else.

        Raises:
            SettingsError: one line for every problem.
        """
        written = {
            name: field.get_default() for name, field in cls.model_fields.items() if name not in SECRET_FIELDS
        }
        return cls(**{**written, **values})

    @property
    def account_name(self) -> str:
        """What slots, rate, pauses, breaker and the day's budget belong to."""
        return self.account or self.provider

    @property
    def api_key_text(self) -> str:
        """The key; empty: there is none."""
        return _text(self.api_key)

    @property
    def ledger_url_text(self) -> str:
        """The ledger's address; empty: SQLite in the Dagster home."""
        return _text(self.ledger_url)

    @property
    def notify_url_text(self) -> str:
        """The webhook's address; empty: there is none."""
        return _text(self.notify_url)

    def secret_texts(self) -> tuple[str, ...]:
        """Every secret that is known now, to be taken out of what is shown."""
        secrets = [getattr(self, name) for name in SECRET_FIELDS]
        return tuple(text for secret in secrets if (text := _known_text(secret)))


def variable(field: str) -> str:
    """The environment variable that sets a field of ``Settings``."""
    return f"{PREFIX}{field.upper()}"


def _text(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()


def _known_text(secret: SecretStr | None) -> str:
    try:
        return _text(secret)
    except SettingsError:
        return ""


def _unknown_variables() -> list[str]:
    """A sentence for each variable that looks like a setting and is none."""
    known = {variable(name) for name in Settings.model_fields}
    return [
        f"{name} is not a setting.{_nearest(name, known)}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX)
        and not name.startswith(SANDBOX_PREFIX)
        and name not in known
        and os.environ[name].strip()
    ]


def _misplaced_variables(values: Mapping[str, Any]) -> list[str]:
    """A sentence for each ``dagster.EnvVar`` that would be taken for a text."""
    return [
        f"{name}: only {', '.join(SECRET_FIELDS)} can be given as a dagster.EnvVar. Set {variable(name)}, or read the "
        "variable with os.environ"
        for name, value in values.items()
        if name not in SECRET_FIELDS and hasattr(value, "env_var_name")
    ]


def _nearest(name: str, known: set[str]) -> str:
    return did_you_mean(name, known) or f" The settings are {', '.join(sorted(known))}."


def _unusable_provider(settings: Settings) -> list[str]:
    """A sentence where the provider cannot be used, or needs a key and none is given."""
    from sora_pipeline.provider.catalogue import load_catalogue
    from sora_pipeline.provider.registry import BrokenProviderError, find

    try:
        spec = find(settings.provider)
    except BrokenProviderError as problem:
        return [f"SORA_PROVIDER={settings.provider}: {problem}"]
    if spec.catalogue is not None and (wrong := load_catalogue().problems.get(spec.name)):
        return [f"SORA_PROVIDER={settings.provider}: {wrong}"]
    if not spec.needs_key or settings.api_key is not None:
        return []
    if "api_key" in settings.model_fields_set:  # an empty variable counts as not set, so code said it
        return [
            f"api_key is given in code and is empty, and provider={settings.provider} needs a key; it is not taken from "
            "SORA_API_KEY then. Give a key, or leave api_key out"
        ]
    return [
        f"SORA_API_KEY is not set, and SORA_PROVIDER={settings.provider} needs a key. "
        "Set SORA_API_KEY (or GPTPROTO_API_KEY), or SORA_PROVIDER=sandbox to try without one."
    ]


def _sentence(problem: ErrorDetails) -> str:
    """One problem as a sentence; a secret's value is never repeated."""
    field, value = str(problem["loc"][0]), problem["input"]
    if field not in Settings.model_fields:
        near = _nearest(field, set(Settings.model_fields))
        return f"{field} is not a setting.{near}"
    in_code = value != _environment_value(field) or not value
    name = (
        field
        if in_code
        else next(candidate for candidate in _variables(field) if os.environ.get(candidate, "").strip())
    )
    shown = "" if field in SECRET_FIELDS else f"={without_secrets(str(value))}"
    wrong = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "literal_error":
        wrong += "." + did_you_mean(str(value), get_args(Settings.model_fields[field].annotation))
    return f"{name}{shown}: {ended(wrong)} It means: {Settings.model_fields[field].description}"


def dagster_home(environ: Mapping[str, str] | None = None) -> Path:
    """The folder that holds Dagster's storage and, by default, the ledger.

    ``DAGSTER_HOME`` where it is set, else ``.sora`` in the current folder: Dagster itself would use temporary
    storage there, and forget which clips are paid for.
    """
    environ = os.environ if environ is None else environ
    return Path(environ.get("DAGSTER_HOME") or ".sora").expanduser().absolute()


def ledger_url(settings: Settings, home: Path) -> str:
    """The ledger's SQLAlchemy URL: ``SORA_LEDGER_URL``, or SQLite in the Dagster home.

    Raises:
        SettingsError: the URL is that of a database in a process's memory.
    """
    if settings.ledger_url_text and _is_in_memory(settings.ledger_url_text):
        raise SettingsError(
            "SORA_LEDGER_URL: a database in memory is forgotten with the process, and each process would pay for the same clips. "
            "Write sqlite:////path/ledger.db"
        )
    return settings.ledger_url_text or _sqlite_url(str(ledger_file(home)))


def ledger_file(home: Path) -> Path:
    """The ledger's SQLite file in a Dagster home."""
    return home / "ledger.db"


def _is_in_memory(url: str) -> bool:
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # whoever opens it says what is wrong
        return False
    place = parsed.database or ""
    return parsed.get_backend_name() == "sqlite" and (
        not place or ":memory:" in place or "memory" in (parsed.query.get("mode"), parsed.query.get("vfs"))
    )


def _sqlite_url(path: str) -> str:
    from sqlalchemy import make_url

    url = f"sqlite:///{path}"
    # Only newer versions of SQLAlchemy read %41 as a letter, and take it so in a path, too.
    return url if make_url(url).database == path else f"sqlite:///{quote(path)}"
