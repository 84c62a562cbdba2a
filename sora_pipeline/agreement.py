"""Whether a command and the daemon that will do its work mean the same provider, account, model and limits.

A command only asks; a daemon that was started in another terminal, with other settings, is what submits and pays.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.pipelines import FRESH
from sora_pipeline.settings import Settings, variable

FIELDS = (
    "provider",
    "base_url",
    "submit_path",
    "account",
    "model",
    "catalogue",
    "max_in_flight",
    "batch_size",
    "submits_per_minute",
    "poll_interval_s",
    "generation_timeout_s",
    "max_attempts",
    "budget_daily_usd",
    "max_policy_failures",
    "image_fit",
    "image_transport",
    "ambiguous_submit",
    "server_errors_unbilled",
    "allow_private_hosts",
)
"""What decides who pays how much for what. A manifest, an output and a budget travel with each request."""
KEY = "api_key"
SHOWN_AGAIN = timedelta(seconds=20)
"""How often a daemon says what it works with."""
PATIENCE_S = 20.0
"""How long a command waits for a daemon that was started just now to say so."""
LOOK_S = 0.5


class DisagreementError(SoraPipelineError):
    """Raised where a daemon would do a command's work with other settings than the command's."""


def settings_shown(settings: Settings, ledger_id: str) -> dict[str, Any]:
    """The settings that decide, for the ledger; the key as a digest that only this ledger can compare."""
    values = settings.model_dump(mode="json", include=set(FIELDS))
    if settings.catalogue is not None:
        values["catalogue"] = str(settings.catalogue.absolute())  # the daemon may be in another folder
    return {name: _plain(values.get(name)) for name in FIELDS} | {
        KEY: _digest(settings.api_key_text, ledger_id)
    }


def show_settings(ledger: Ledger, pipeline: str, settings: Settings) -> None:
    """Let commands know what this daemon works with; writes only where that is news."""
    shown = settings_shown(settings, ledger.ledger_id)
    seen = ledger.pipelines.seen(pipeline)
    if (
        seen is None
        or seen.settings != shown
        or not timedelta(0) <= ledger.now() - seen.seen_at < SHOWN_AGAIN
    ):
        ledger.pipelines.show(pipeline, shown)


def require_agreement(ledger: Ledger, pipeline: str, settings: Settings, home: str) -> None:
    """Refuse to leave work to a daemon that would do it otherwise; called where one is at work on the home.

    Raises:
        DisagreementError: it works with other settings, or with another ledger.
    """
    give_up = time.monotonic() + PATIENCE_S
    while (seen := ledger.pipelines.seen(pipeline)) is None or ledger.now() - seen.seen_at > FRESH:
        if time.monotonic() > give_up:
            if others := [name for name in ledger.pipelines.at_work() if name != pipeline]:
                raise DisagreementError(
                    f"the Dagster daemon at work on {home} serves {_pipelines(others)}, and not what this command works with. "
                    "Materialize its prompt_manifest in the Dagster UI, or give this command a home of its own (DAGSTER_HOME)"
                )
            raise DisagreementError(
                f"a Dagster daemon is at work on {home}, and does not say that it works with this ledger "
                f"({ledger.database.shown_url}): it has another SORA_LEDGER_URL, is of an older version, or its "
                "manifest_request_sensor is switched off. Stop it (this command then starts its own), or mend that"
            )
        time.sleep(LOOK_S)
    different = differences(settings_shown(settings, ledger.ledger_id), seen.settings)
    if different:
        raise DisagreementError(
            f"the Dagster daemon at work on {home} has other settings than this command, and would do its work with them: "
            f"{'; '.join(different)}. Give this command the daemon's settings, or stop the daemon (this command then starts "
            "its own)"
        )


def differences(ours: Mapping[str, Any], daemons: Mapping[str, Any]) -> list[str]:
    """What differs, a part of a sentence each; keys are never shown."""
    sentences = [
        f"{variable(name)} is {_shown(ours.get(name))} here and {_shown(daemons.get(name))} there"
        for name in FIELDS
        if ours.get(name) != daemons.get(name)
    ]
    if ours.get(KEY) != daemons.get(KEY):
        sentences.append("SORA_API_KEY is another key here than there")
    return sentences


def _pipelines(names: Sequence[str]) -> str:
    of_whom = f"the pipeline{'' if len(names) == 1 else 's'} {', '.join(filter(None, names))}"
    return of_whom if "" not in names else f"the built-in pipeline and {of_whom}"


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


@lru_cache(maxsize=8)
def _digest(key: str, ledger_id: str) -> str:
    """Slow on purpose: whoever reads a ledger shall not find a key by trying."""
    return hashlib.scrypt(key.encode(), salt=ledger_id.encode(), n=2**12, r=8, p=1, dklen=16).hex()
