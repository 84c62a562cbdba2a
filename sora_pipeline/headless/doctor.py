"""Looks whether everything a production needs is there, without spending anything."""

import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.admission.holds import why_paused_account
from sora_pipeline.admission.limits import account_of
from sora_pipeline.advice import ended, explained
from sora_pipeline.amounts import counted
from sora_pipeline.headless.home import HomeError, daemon_is_alive, open_instance, prepare_home
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.notifications.webhook import webhook_host
from sora_pipeline.production.progress import why_left_open
from sora_pipeline.provider.catalogue import Catalogue, UnknownModelError, load_catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.provider.registry import make_provider
from sora_pipeline.settings import Settings, ledger_url
from sora_pipeline.store import OutputStore

if TYPE_CHECKING:
    import dagster as dg

LITTLE_SPACE = 5 * 1024**3
OLD_DAGSTER = (1, 13, 21)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: What, in a word or two.
        healthy: True, False, or None where it could not be told or is only worth knowing.
        sentence: What was found, and what to do where it is not well.
    """

    subject: str
    healthy: bool | None
    sentence: str


async def examine(configure: Callable[[Settings], ProviderConfig]) -> list[Finding]:
    """Look at everything; each problem is a finding, never an exception.

    Args:
        configure: Makes the provider's configuration from the settings.
    """
    findings: list[Finding] = []
    settings = _settings(findings)
    if settings is None:
        return findings
    catalogue = _catalogue(settings, findings)
    try:
        home = prepare_home()
    except HomeError as error:
        return [*findings, Finding("home", False, explained(error))]
    findings += _local(settings, home)
    if catalogue is not None:
        findings += [finding async for finding in _provider(settings, home, catalogue, configure)]
    return findings


def _settings(findings: list[Finding]) -> Settings | None:
    try:
        settings = Settings.from_env()
    except Exception as error:
        findings.append(Finding("settings", False, str(error)))
        return None
    findings.append(
        Finding(
            "settings",
            True,
            f"SORA_PROVIDER={settings.provider}, account {settings.account_name}, SORA_MODEL={settings.model}",
        )
    )
    return settings


def _catalogue(settings: Settings, findings: list[Finding]) -> Catalogue | None:
    try:
        catalogue = load_catalogue(settings.catalogue)
        model = catalogue.model(settings.model)
    except (ValueError, UnknownModelError) as error:
        findings.append(Finding("catalogue", False, f"{ended(str(error))} Mend SORA_CATALOGUE or SORA_MODEL"))
        return None
    # Of other providers: the settings refuse their own.
    findings += [Finding("plug-in", None, problem) for problem in catalogue.problems.values()]
    if settings.provider not in model.formats:
        sentence = f"{model.name} is not reached by {settings.provider}, only by {', '.join(model.formats)}"
        findings.append(Finding("catalogue", False, f"{sentence}. Change SORA_MODEL or SORA_PROVIDER"))
    else:
        findings.append(
            Finding("catalogue", True, f"{counted(len(catalogue.names), 'model')}, {model.name} among them")
        )
    return catalogue


def _local(settings: Settings, home: Path) -> Iterator[Finding]:
    import dagster as dg

    version = tuple(int(part) for part in dg.__version__.split(".")[:3] if part.isdigit())
    if version < OLD_DAGSTER:
        advice = "backfills mishandle ranges that succeed in part; install dagster>=1.13.21,<1.14"
        yield Finding("dagster", False, f"{dg.__version__}: {advice}")
    else:
        yield Finding("dagster", True, dg.__version__)
    yield from _home(home)
    yield _ledger(settings, home)
    yield from _paused(settings, home)
    yield _output(settings)
    yield _webhook(settings)


def _home(home: Path) -> Iterator[Finding]:
    try:
        with open_instance(home) as instance:
            alive = daemon_is_alive(instance, home)
            missing = list(_missing(instance))
    except Exception as error:  # Dagster's storage may be on any database
        yield Finding("home", False, explained(error))
        return
    state = "a daemon is at work" if alive else "no daemon; `sora-pipeline run` starts its own, `dev` too"
    yield Finding("home", True if alive else None, f"{home}: {state}")
    if missing:
        yield Finding(
            "dagster.yaml",
            None,
            f"{home / 'dagster.yaml'} does not set {' and '.join(missing)}: runs may fail or stay behind when a process is "
            "killed. Move the file away to have a new one written, or add them (docs/recovery.md says why)",
        )


def _missing(instance: "dg.DagsterInstance") -> Iterator[str]:
    """What a dagster.yaml has to say so that runs outlast a code server, and dead ones are noticed; and does not."""
    run_queue = instance.get_concurrency_config().run_queue_config
    if run_queue is None or not run_queue.max_user_code_failure_retries:
        yield "run_queue.max_user_code_failure_retries"
    if not (instance.get_settings("run_monitoring") or {}).get("enabled"):
        yield "run_monitoring.enabled"


def _ledger(settings: Settings, home: Path) -> Finding:
    try:
        ledger = Ledger(ledger_url(settings, home))
        opened = (each for each in ledger.breakers.all_open() if each.account == settings.account_name)
        breaker = next(opened, None)
        productions = len(ledger.productions.all())
        elsewhere = {
            account: count
            for account, count in ledger.attempts.open_accounts().items()
            if account.name != settings.account_name
        }
    except Exception as error:  # a database driver may raise anything
        return Finding(
            "ledger", False, f"{explained(error).rstrip('.')}. Look at SORA_LEDGER_URL and DAGSTER_HOME"
        )
    if breaker is not None:
        return Finding(
            "ledger",
            False,
            f"since {breaker.opened_at:%Y-%m-%d %H:%M} UTC, {explained(why_stopped(breaker))}",
        )
    if elsewhere:
        open_elsewhere = " ".join(
            explained(why_left_open(account, count)) for account, count in elsewhere.items()
        )
        return Finding(
            "ledger",
            None,
            f"{ledger.database.shown_url}, {counted(productions, 'production')}; {open_elsewhere}",
        )
    return Finding("ledger", True, f"{ledger.database.shown_url}, {counted(productions, 'production')}")


def _paused(settings: Settings, home: Path) -> Iterator[Finding]:
    """What a person has stopped, and may have forgotten."""
    try:
        ledger = Ledger(ledger_url(settings, home))
        since = ledger.paused.accounts().get(settings.account_name)
        productions = [each.production_id for each in ledger.productions.all() if each.paused_at is not None]
    except Exception:  # has a finding of its own
        return
    if since is not None:
        yield Finding("paused", False, explained(why_paused_account(settings.account_name, since)))
    for name in productions:
        yield Finding(
            "paused",
            None,
            f"nothing is submitted for the production {name}; `sora-pipeline resume --production {name}` lets it go on",
        )


def _output(settings: Settings) -> Finding:
    probe = ".staging/doctor"
    try:
        store = OutputStore(settings.output)
        store.replace_bytes(probe, str(time.time()).encode())
        store.read_bytes(probe)
        local = store.local_path(probe)
        if local is not None:
            local.unlink()
            free = shutil.disk_usage(local.parent).free
            if free < LITTLE_SPACE:
                return Finding("output", None, f"{store.uri}: only {free / 1024**3:.1f} GB free")
    except Exception as error:  # a store's driver may raise anything
        return Finding("output", False, f"{explained(error).rstrip('.')}. Look at SORA_OUTPUT")
    return Finding("output", True, f"{store.uri} can be written")


def _webhook(settings: Settings) -> Finding:
    if not settings.notify_url:
        return Finding(
            "webhook", None, "SORA_NOTIFY_URL is not set: nobody is told when a production fails or ends"
        )
    host = webhook_host(settings)
    if host is None:
        return Finding("webhook", False, "SORA_NOTIFY_URL names no host; write https://host/path")
    links = "" if settings.ui_url else "; set SORA_UI_URL for links to the Dagster UI"
    return Finding("webhook", True, f"{host} is told of failed runs and finished productions{links}")


def _moved(settings: Settings, home: Path, address: str) -> str | None:
    """Why commands would refuse to use the account at this address."""
    account = account_of(settings)
    try:
        ledger = Ledger(ledger_url(settings, home))
    except LedgerError:  # has a finding of its own
        return None
    try:
        if not account.simulated:
            ledger.accounts.require_place(account, address)
    except LedgerError as error:
        return explained(error)
    finally:
        ledger.close()
    return None


async def _provider(
    settings: Settings, home: Path, catalogue: Catalogue, configure: Callable[[Settings], ProviderConfig]
) -> AsyncIterator[Finding]:
    """Ask the provider what can be asked for nothing."""
    try:
        config = configure(settings)
    except Exception as error:
        yield Finding("provider", False, f"{error}. Look at SORA_BASE_URL and SORA_API_KEY")
        return
    if (moved := _moved(settings, home, config.base_url)) is not None:
        yield Finding("account", False, moved)
    async with make_provider(config, catalogue) as provider:
        key = await provider.check_key()
        unreachable = key.kind is ErrorKind.CONNECT
        advice = "" if key.accepted else ". Look at SORA_API_KEY, SORA_BASE_URL and the network"
        yield Finding(
            "key", False if unreachable else key.accepted, f"{config.base_url}: {key.message}{advice}"
        )
        if unreachable:
            return
        exists = await provider.model_exists(settings.model)
    sentences = {
        True: f"the provider has {settings.model}",
        False: f"the provider no longer has {settings.model}; choose another with SORA_MODEL",
        None: f"the provider does not say whether it has {settings.model}; try one clip first",
    }
    yield Finding("model", exists, sentences[exists])
