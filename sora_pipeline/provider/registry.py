"""Which providers are installed, found by the entry points of the group ``sora_pipeline.providers``.

Names come from package metadata alone; a provider's own module is loaded when its spec is asked for.
"""

import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.provider.spec import PROTOCOL_VERSION, ProviderSpec
from sora_pipeline.suggestions import did_you_mean

if TYPE_CHECKING:
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.provider.config import ProviderConfig
    from sora_pipeline.provider.protocol import Provider

GROUP = "sora_pipeline.providers"


class ProviderNotInstalledError(SoraPipelineError, ValueError):
    """Raised where no installed package offers a provider of that name; the message names those that are offered."""


class BrokenProviderError(SoraPipelineError, ValueError):
    """Raised where a provider is installed and cannot be used; the message names its package and what is wrong."""


def installed() -> tuple[str, ...]:
    """The names of all installed providers, sorted. Loads none of them."""
    return tuple(sorted({entry.name for entry in _entries(tuple(sys.path))}))


def entry_of(name: str) -> EntryPoint:
    """The entry point of a provider, which is not loaded.

    Raises:
        ProviderNotInstalledError: there is none of that name.
        BrokenProviderError: two packages offer one.
    """
    entries = [entry for entry in _entries(tuple(sys.path)) if entry.name == name]
    if not entries:
        raise ProviderNotInstalledError(
            f"no provider {name!r} is installed; installed: {', '.join(installed()) or 'none'}.{did_you_mean(name, installed())} Install the package that offers "
            f"it into the environment of sora-pipeline ({sys.prefix}), for example with pip"
        )
    if len(entries) > 1:
        offering = " and ".join(sorted(_package(entry) for entry in entries))
        raise BrokenProviderError(f"{offering} both offer a provider {name!r}; uninstall one of them")
    return entries[0]


def find(name: str) -> ProviderSpec:
    """The spec of an installed provider.

    Raises:
        ProviderNotInstalledError: there is none of that name.
        BrokenProviderError: it cannot be loaded, is no spec, or is of a version of the protocol that is not spoken here.
    """
    return _load(entry_of(name))


def usable() -> Iterator[ProviderSpec]:
    """The spec of every installed provider that can be used."""
    for name in installed():
        try:
            yield find(name)
        except BrokenProviderError:
            continue


def broken() -> dict[str, str]:
    """What is wrong with each installed provider that cannot be used, by name."""
    problems = {}
    for name in installed():
        try:
            find(name)
        except BrokenProviderError as problem:
            problems[name] = str(problem)
    return problems


def make_provider(config: "ProviderConfig", catalogue: "Catalogue | None" = None) -> "Provider":
    """The provider that a configuration describes. It connects to nothing before it is entered.

    Args:
        config: Name, address and key.
        catalogue: What is known of the models; without, what ``load_catalogue()`` says.
    """
    from sora_pipeline.provider.catalogue import load_catalogue

    return find(config.name).make(config, catalogue or load_catalogue())


@lru_cache(maxsize=4)
def _entries(_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """What is installed below these folders: reading all packages' metadata takes tens of milliseconds."""
    return tuple(entry_points(group=GROUP))


@lru_cache(maxsize=64)
def _load(entry: EntryPoint) -> ProviderSpec:
    message = f"the provider {entry.name!r} of {_package(entry)} cannot be used"
    try:
        spec = entry.load()
    except Exception as error:  # a module may raise anything while it is imported
        raise BrokenProviderError(f"{message}: {entry.value}: {type(error).__name__}: {error}") from error
    if not isinstance(spec, ProviderSpec):
        raise BrokenProviderError(f"{message}: {entry.value} is a {type(spec).__name__}, not a ProviderSpec")
    if spec.version != PROTOCOL_VERSION:
        newer = "sora-pipeline" if spec.version > PROTOCOL_VERSION else _package(entry)
        raise BrokenProviderError(
            f"{message}: it speaks version {spec.version} of the provider protocol, this sora-pipeline version "
            f"{PROTOCOL_VERSION}; upgrade {newer}"
        )
    if spec.name != entry.name:
        raise BrokenProviderError(f"{message}: its spec is named {spec.name!r}; both names must be the same")
    return spec


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
