"""Every setting of the sandbox: one frozen model, read from ``SORA_SANDBOX_<NAME>`` or given by the command line.

Settings in ``CHANGEABLE`` can also be changed on a running server with ``PUT /sandbox/settings``.
"""

import os
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from sora_pipeline.sandbox.faults import FAULTS

ENVIRONMENT_PREFIX = "SORA_SANDBOX_"


class RetryAfter(StrEnum):
    """How a 429 says when to come back."""

    NONE = "none"
    SECONDS = "seconds"
    DATE = "date"


class OpenAIFlavour(StrEnum):
    """Whose ``/v1/videos`` it is."""

    OPENAI = "openai"
    GPTPROTO = "gptproto"


class Outage(StrEnum):
    """A fault of the whole provider: every request except the sandbox's own pages."""

    NONE = "none"
    INTERNAL = "500"
    BAD_GATEWAY = "502"  # an HTML page, as a proxy in front sends it
    UNAVAILABLE = "503"
    RESET = "reset"  # connections are accepted and cut
    REFUSE = "refuse"  # the port is closed, the sandbox's own pages too, so it ends by itself
    HANG = "hang"  # no answer comes


def _rates(value: object) -> object:
    """Read ``policy=0.1,error-503=0.05`` and check the names."""
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        value = {name.strip(): rate.strip() for name, _, rate in pairs}
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - set(FAULTS))
        if unknown:
            raise ValueError(f"no such fault: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    return value


Rate = Annotated[float, Field(ge=0, le=1)]
Rates = Annotated[dict[str, Rate], BeforeValidator(_rates)]


class SandboxSettings(BaseModel):
    """How the sandbox behaves; every default is a provider in good health."""

    # Earlier Pydantic warns of a field called `model_gone` otherwise.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    prefer_port: bool = Field(
        False, description="Where the port is taken, take a free one instead of giving up."
    )
    state_dir: Path = Field(
        Path(".sora-sandbox"), description="Folder of the jobs, the bill and the rendered files."
    )
    api_key: SecretStr = Field(SecretStr("sandbox"), description="The key that is accepted.")
    ready_file: Path | None = Field(
        None, description="File that gets url, pid, api_key and instance as JSON once the server listens."
    )
    exit_when_idle_s: float = Field(
        0, ge=0, description="Stop after so many seconds with no request and no unfinished job; 0 is never."
    )
    fps: int = Field(24, ge=1, le=120, description="Frames a second of rendered videos.")
    render_workers: int = Field(2, ge=1, le=16, description="Processes that render.")
    seed: int = Field(0, description="Decides which requests fault_rates and render_jitter hit, and how.")

    render_s: float = Field(5, ge=0, description="Seconds from submit until a prediction is completed.")
    render_jitter: float = Field(
        0, ge=0, le=1, description="Share by which render_s varies, 0.2 for four to six seconds of five."
    )
    shared_renders: bool = Field(
        False,
        description="Render one video per size and duration and give it to every job: for load tests.",
    )
    output_base_url: str = Field(
        "", description="Origin in output URLs, where it should differ from the one that was asked."
    )
    openai_flavour: OpenAIFlavour = Field(
        OpenAIFlavour.OPENAI,
        description="How /v1/videos answers: openai, or gptproto with a soraVideoUrl and timestamps as strings.",
    )
    flat_errors: bool = Field(
        False,
        description="Word the unified format's errors as its pages do (flat), not as its specification does.",
    )
    max_running: int = Field(
        0, ge=0, description="Jobs that may run at once; one more is answered 429; 0 is no limit."
    )
    submits_per_minute: int = Field(
        0, ge=0, description="Submits in 60 seconds; one more is answered 429; 0 is no limit."
    )
    retry_after: RetryAfter = Field(
        RetryAfter.SECONDS, description="Form of the Retry-After header of a 429: none, seconds or date."
    )
    fault_rates: Rates = Field(
        {}, description="Faults by probability per submit, such as policy=0.02,error-503=0.1."
    )
    slow_answer_s: float = Field(10, ge=0, description="Seconds that a slow answer takes.")
    late_file_s: float = Field(3, ge=0, description="Seconds that a late file takes to appear.")
    outage: Outage = Field(
        Outage.NONE, description="Take the provider down: 500, 502, 503, reset, refuse, hang or none."
    )
    outage_s: float = Field(
        0, ge=0, description="Seconds until the outage ends by itself; 0 is until switched off (refuse: 5)."
    )
    balance_usd: Decimal | None = Field(
        None, ge=0, description="What the bill may reach before submits are answered 403; empty is no end."
    )
    key_revoked: bool = Field(False, description="Answer every key with 401.")
    model_gone: bool = Field(False, description="Answer every submit as if its model had been retired.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read the ``SORA_SANDBOX_<NAME>`` variables; what is unset or empty keeps its default.

        Raises:
            ValueError: a value is bad; the text names the variable.
        """
        names = {name: f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in cls.model_fields}
        given: dict[str, Any] = {
            name: environment[variable] for name, variable in names.items() if environment.get(variable)
        }
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [f"{names[str(e['loc'][0])]}: {e['msg']}" for e in error.errors()]
            raise ValueError("; ".join(problems)) from None

    def to_environment(self) -> dict[str, str]:
        """The variables from which :meth:`from_environment` reads these settings again."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        values.pop("fault_rates", None)
        if self.fault_rates:
            values["fault_rates"] = ",".join(f"{name}={rate}" for name, rate in self.fault_rates.items())
        if "api_key" in values:
            values["api_key"] = self.api_key.get_secret_value()
        return {f"{ENVIRONMENT_PREFIX}{name.upper()}": str(v) for name, v in values.items() if v is not None}

    def changed(self, changes: Mapping[str, Any]) -> Self:
        """These settings with some that are changeable at run time changed.

        Raises:
            ValueError: a name is not changeable or a value is bad.
        """
        fixed = sorted(set(changes) - set(CHANGEABLE))
        if fixed:
            raise ValueError(
                f"cannot be changed on a running server: {', '.join(fixed)}; these can: {', '.join(CHANGEABLE)}"
            )
        return self.model_validate({**dict(self), **changes})

    def changeable(self) -> dict[str, Any]:
        """The settings that can be changed at run time, as JSON values."""
        return self.model_dump(mode="json", include=set(CHANGEABLE))


CHANGEABLE = tuple(list(SandboxSettings.model_fields)[list(SandboxSettings.model_fields).index("render_s") :])
