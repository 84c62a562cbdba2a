"""What a package registers to offer a provider: one ``ProviderSpec`` under the entry-point group ``sora_pipeline.providers``.

docs/providers.md says how to write one. Nothing here speaks HTTP: a spec is loaded with the settings, its ``make`` where
the provider is used.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING

from sora_pipeline.provider.protocol import ImageTransport, Provider

if TYPE_CHECKING:
    from sora_pipeline.provider.catalogue import Catalogue
    from sora_pipeline.provider.config import ProviderConfig

PROTOCOL_VERSION = 1
"""The version of ``Provider`` and ``ProviderSpec`` that this package speaks."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSpec:
    """One provider as its package offers it.

    Attributes:
        name: What ``SORA_PROVIDER`` says and a catalogue's ``formats`` name: the entry point's name.
        version: The protocol's version that it was written for: the number, never ``PROTOCOL_VERSION``.
        make: Makes a provider from address, key and the models known; connects to nothing. Imports HTTP libraries inside.
        default_base_url: Its address where ``SORA_BASE_URL`` names none; None: there is no address to assume.
        simulated: Whether its videos are test pictures and its dollars are no money. Never taken for the real thing.
        needs_key: Whether nothing works without ``SORA_API_KEY``.
        image_transports: How it takes first frames; ``AUTO`` is always among them, and what ``AUTO`` means is its choice.
        catalogue: A TOML resource with the models it brings; see ``load_catalogue``.
    """

    name: str
    version: int
    make: "Callable[[ProviderConfig, Catalogue], Provider]"
    default_base_url: str | None = None
    simulated: bool = False
    needs_key: bool = True
    image_transports: frozenset[ImageTransport] = frozenset(ImageTransport)
    catalogue: Traversable | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is no name for a provider: 1 to 40 small letters, digits and dashes"
            )
        if ImageTransport.AUTO not in self.image_transports:
            raise ValueError("image_transports must hold ImageTransport.AUTO")
