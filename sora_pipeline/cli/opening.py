"""What commands that change something begin with: the settings, the home and the ledger, and a daemon that means the same."""

from contextlib import nullcontext
from typing import TYPE_CHECKING

from sora_pipeline.cli.output import BUILT_IN

if TYPE_CHECKING:
    from pathlib import Path

    import dagster as dg

    from sora_pipeline.ledger import Ledger
    from sora_pipeline.settings import Settings


def open_ledger() -> "tuple[Ledger, Settings, Path]":
    """Ledger, settings and Dagster home.

    Raises:
        SettingsError, LedgerError: they cannot be used.
    """
    settings, home = open_home()
    return ledger_of(settings, home), settings, home


def open_home() -> "tuple[Settings, Path]":
    """Settings and Dagster home.

    Raises:
        SettingsError: they cannot be used.
    """
    from sora_pipeline.headless.home import prepare_home
    from sora_pipeline.settings import Settings

    return Settings.from_env(), prepare_home()


def ledger_of(settings: "Settings", home: "Path") -> "Ledger":
    """The ledger.

    Raises:
        LedgerError: it cannot be used.
    """
    from sora_pipeline.ledger import Ledger
    from sora_pipeline.settings import ledger_url

    return Ledger(ledger_url(settings, home))


def require_same_settings(
    ledger: "Ledger", settings: "Settings", home: "Path", instance: "dg.DagsterInstance | None" = None
) -> bool:
    """Refuse to leave work of the built-in pipeline to a daemon that has other settings.

    Returns:
        Whether a daemon is at work on the home.

    Raises:
        DisagreementError: one is at work on the home.
        LedgerError: the account is somewhere else with open predictions.
    """
    from sora_pipeline.admission.limits import account_of
    from sora_pipeline.agreement import require_agreement
    from sora_pipeline.headless.home import daemon_is_alive, open_instance
    from sora_pipeline.runtime import provider_config

    with nullcontext(instance) if instance is not None else open_instance(home) as opened:
        alive = daemon_is_alive(opened, home)
        if alive:
            require_agreement(ledger, BUILT_IN, settings, str(home))
    account = account_of(settings)
    if not account.simulated:
        ledger.accounts.use(account, provider_config(settings).base_url)
    return alive
