"""What the Dagster objects of one pipeline work with: its settings, and from them ledger, catalogue and provider.

Every process builds it anew by importing the code location. Nothing of it is written into Dagster's storage.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr, ValidationError

from sora_pipeline.admission.limits import account_of
from sora_pipeline.advice import explained
from sora_pipeline.agreement import show_settings
from sora_pipeline.ledger import Account, Ledger
from sora_pipeline.names import PipelineNames
from sora_pipeline.production.context import Leave, RunContext, image_cache
from sora_pipeline.provider.catalogue import Catalogue, load_catalogue
from sora_pipeline.sandbox.embedded import ensure_sandbox
from sora_pipeline.settings import Settings, SettingsError, dagster_home, ledger_url, variable

if TYPE_CHECKING:
    from sora_pipeline.provider.config import ProviderConfig


class PipelineRuntime:
    """Settings and names of one pipeline, and what they lead to.

    Nothing is opened before it is used: a code location loads without a ledger, a key or a network.

    Args:
        names: What the pipeline's parts are called in Dagster.
        settings: With their secrets.
        production: What its own manifest's production is called; empty: after the file.
    """

    def __init__(self, names: PipelineNames, settings: Settings, production: str = "") -> None:
        self.names = names
        self.settings = settings
        self.production = production

    @property
    def account(self) -> Account:
        """Who submits, polls and pays."""
        return account_of(self.settings)

    def show_settings(self) -> None:
        """Let commands know what this pipeline's daemon works with."""
        show_settings(self.ledger, self.names.name, self.settings)

    @property
    def home(self) -> Path:
        """The Dagster home of this process."""
        return dagster_home()

    @property
    def run_locks(self) -> Path:
        """Where this pipeline's runs on this machine show that they live."""
        return self.home / self.names.run_lock_folder

    @property
    def ledger(self) -> Ledger:
        """The ledger; one connection pool a process."""
        return open_ledger(ledger_url(self.settings, self.home))

    @property
    def catalogue(self) -> Catalogue:
        """The models, their limits and prices."""
        return load_catalogue(self.settings.catalogue)

    def provider_config(self) -> "ProviderConfig":
        """Address and key. Starts the embedded sandbox where that is the provider and no address is set."""
        return provider_config(self.settings)

    @asynccontextmanager
    async def open(
        self, owner: str, say: Callable[[str], None], *, leave: Leave | None = None
    ) -> AsyncIterator[RunContext]:
        """A run context with a connected provider.

        Args:
            owner: Name under which attempts are claimed: a Dagster run's id.
            say: Takes sentences for the log.
            leave: Set where the run is to end as soon as it can.
        """
        from sora_pipeline.provider.registry import make_provider

        catalogue, config, ledger = self.catalogue, self.provider_config(), self.ledger
        ledger.accounts.use(self.account, config.base_url)
        async with make_provider(config, catalogue) as provider:
            yield RunContext(
                ledger=ledger,
                provider=provider,
                settings=self.settings,
                catalogue=catalogue,
                owner=owner,
                say=say,
                explained=explained,
                images=image_cache(self.settings),
                pipeline=self.names.name,
                leave=leave or Leave(),
            )


def provider_config(settings: Settings) -> "ProviderConfig":
    """Address and key of the provider. Starts the embedded sandbox where that is it and no address is set.

    Raises:
        SettingsError: the provider cannot be reached like this; the text names the variables.
    """
    # The HTTP libraries come along with it: only the processes that talk to the provider load them.
    from sora_pipeline.provider.config import ProviderConfig
    from sora_pipeline.provider.protocol import ImageTransport

    key, base_url = settings.api_key_text, settings.base_url
    if settings.provider == "sandbox" and base_url is None:
        endpoint = ensure_sandbox(sandbox_folder())
        base_url, key = endpoint.url, endpoint.api_key
    try:
        return ProviderConfig(
            name=settings.provider,
            base_url=base_url or "",
            api_key=SecretStr(key),
            image_transport=ImageTransport(settings.image_transport),
            submit_path=settings.submit_path,
            server_errors_unbilled=settings.server_errors_unbilled,
            allow_private_outputs=settings.allow_private_hosts,
        )
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_sentence(problem["loc"], problem["msg"]) for problem in error.errors())
        ) from None


def _sentence(where: tuple[int | str, ...], message: str) -> str:
    """One problem of the provider's config; values are quoted by the message where they may be."""
    names = [str(name) for name in where] or ["provider", "base_url", "image_transport"]
    variables = [variable(name) for name in names if name in Settings.model_fields]
    return f"{', '.join(variables) or variable('provider')}: {message.removeprefix('Value error, ')}"


def sandbox_folder() -> Path:
    """Where the embedded sandbox keeps its jobs and videos."""
    return dagster_home() / "sandbox"


@lru_cache(maxsize=8)
def open_ledger(url: str) -> Ledger:
    """The ledger at an address, opened once a process."""
    return Ledger(url)
