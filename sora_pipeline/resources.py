"""Dagster resources: the settings, and from them the ledger, the provider and the tools of one run."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import SecretStr, ValidationError

from sora_pipeline.ledger import Ledger
from sora_pipeline.living import living
from sora_pipeline.production.context import Desk, image_cache
from sora_pipeline.provider.catalogue import Catalogue, load_catalogue
from sora_pipeline.sandbox.embedded import ensure_sandbox
from sora_pipeline.settings import (
    SECRET_FIELDS,
    Settings,
    SettingsProblem,
    dagster_home,
    ledger_url,
    variable,
)

if TYPE_CHECKING:
    from sora_pipeline.provider.config import ProviderConfig


class SettingsResource(dg.ConfigurableResource[Any]):
    """The settings as Dagster shows them.

    Secrets are not among the values: every process reads them from its own environment.
    """

    values: dict[str, Any]

    @classmethod
    def of(cls, settings: Settings) -> "SettingsResource":
        """Settings without their secrets."""
        values = settings.model_dump(mode="json", exclude=set(SECRET_FIELDS), exclude_none=True)
        return cls(values=values)

    def read(self) -> Settings:
        """The settings, with this process's secrets."""
        return Settings.with_secrets(self.values)


class LedgerResource(dg.ConfigurableResource[Any]):
    """The ledger of attempts."""

    settings: dg.ResourceDependency[SettingsResource]

    def open(self) -> Ledger:
        """The ledger; one connection pool a process."""
        return _ledger(ledger_url(self.settings.read(), dagster_home()))


class ProviderResource(dg.ConfigurableResource[Any]):
    """The video provider; with ``SORA_PROVIDER=sandbox`` its own emulator, started when first needed."""

    settings: dg.ResourceDependency[SettingsResource]

    def config(self) -> "ProviderConfig":
        """Address and key. Starts the embedded sandbox where that is the provider and no address is set."""
        return provider_config(self.settings.read())


class DeskResource(dg.ConfigurableResource[Any]):
    """The tools with which runs and sensors work on clips."""

    settings: dg.ResourceDependency[SettingsResource]
    ledger: dg.ResourceDependency[LedgerResource]
    provider: dg.ResourceDependency[ProviderResource]

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["DeskResource"]:
        """Show that the run's process lives, from its start to its end, waits between retries included."""
        run = context.run
        with living(dagster_home(), run.run_id) if run is not None else nullcontext():
            yield self

    def catalogue(self) -> Catalogue:
        """The models, their limits and prices."""
        return load_catalogue(self.settings.read().catalogue)

    @asynccontextmanager
    async def open(self, owner: str, say: Callable[[str], None]) -> AsyncIterator[Desk]:
        """A desk with a connected provider.

        Args:
            owner: Name under which attempts are claimed: a Dagster run's id.
            say: Takes sentences for the log.
        """
        from sora_pipeline.provider.factory import make_provider

        settings, catalogue = self.settings.read(), self.catalogue()
        async with make_provider(self.provider.config(), catalogue) as provider:
            yield Desk(
                ledger=self.ledger.open(),
                provider=provider,
                settings=settings,
                catalogue=catalogue,
                owner=owner,
                say=say,
                images=image_cache(settings),
            )


def provider_config(settings: Settings) -> "ProviderConfig":
    """Address and key of the provider. Starts the embedded sandbox where that is it and no address is set.

    Raises:
        SettingsProblem: the provider cannot be reached like this; the text names the variables.
    """
    # The HTTP libraries come along with it: only the processes that talk to the provider load them.
    from sora_pipeline.provider.config import ProviderConfig
    from sora_pipeline.provider.images import ImageTransport

    key = settings.api_key.get_secret_value() if settings.api_key else ""
    base_url = settings.base_url
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
            allow_private_outputs=settings.allow_private_hosts,
        )
    except ValidationError as error:
        raise SettingsProblem(
            "\n".join(_sentence(each["loc"], each["msg"]) for each in error.errors())
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
def _ledger(url: str) -> Ledger:
    return Ledger(url)
