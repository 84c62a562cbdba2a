"""How to reach a provider: the settings all wire formats share."""

import string
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from sora_pipeline.provider.origins import origin
from sora_pipeline.provider.protocol import ImageTransport
from sora_pipeline.provider.registry import entry_of, find
from sora_pipeline.provider.timeouts import Timeouts

_PATH_FIELDS = frozenset({"vendor", "model", "scene"})


class ProviderConfig(BaseModel):
    """One provider at one address with one key. Its repr hides the key.

    Attributes:
        name: The provider, as it is installed.
        base_url: Scheme, host and perhaps a path; None takes the provider's default.
        api_key: Sent as ``Authorization: Bearer`` to the base URL's origin only; the sandbox needs none.
        image_transport: How first frames are sent.
        submit_path: Replaces the submit path where the format's own has moved; may hold ``{vendor}``, ``{model}`` and
            ``{scene}`` (``image-to-video`` or ``text-to-video``).
        vendor: Whose models they are, where the format names it; None takes what the catalogue says, or ``openai``.
        size_separator: ``x``, or ``*`` as some of the vendor's pages write it.
        max_connections: Open connections at a time.
        timeouts: Seconds to wait at each point.
        allow_private_outputs: Whether output URLs may lead to addresses that are not public; they may in any case where
            the base URL itself does.
        server_errors_unbilled: Whether the provider is known never to bill a submit that it answers with 500, 502, 503 or 504, so
            that such a submit is sent again; otherwise it may have been accepted, and a person decides.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str
    base_url: str = ""
    api_key: SecretStr = SecretStr("")
    image_transport: ImageTransport = ImageTransport.AUTO
    submit_path: str | None = None
    vendor: str | None = Field(default=None, min_length=1)
    size_separator: str = Field(default="x", pattern=r"^[x*]$")
    max_connections: int = Field(default=200, gt=0)
    timeouts: Timeouts = Timeouts()
    allow_private_outputs: bool = False
    server_errors_unbilled: bool = False

    @field_validator("name")
    @classmethod
    def _is_installed(cls, name: str) -> str:
        entry_of(name)
        return name

    @field_validator("base_url", mode="before")
    @classmethod
    def _absent_is_empty(cls, url: object) -> object:
        return "" if url is None else url

    @field_validator("api_key")
    @classmethod
    def _bare_key(cls, key: SecretStr) -> SecretStr:
        """People paste keys with white space and with the ``Bearer`` of an example."""
        bare = key.get_secret_value().strip()
        if bare.lower().startswith("bearer "):
            bare = bare[len("bearer ") :].strip()
        if not (bare.isascii() and all("!" <= character <= "~" for character in bare)):
            # Never quote it.
            raise ValueError("the key holds white space or characters outside ASCII")
        return SecretStr(bare)

    @field_validator("submit_path")
    @classmethod
    def _usable_path(cls, path: str | None) -> str | None:
        if path is None:
            return None
        try:
            fields = {field for _, field, _, _ in string.Formatter().parse(path) if field is not None}
        except ValueError as error:
            raise ValueError(f"{path!r} is no path template: {error}") from error
        if not path.startswith("/") or not fields <= _PATH_FIELDS:
            raise ValueError(
                f"{path!r} must start with '/' and hold no other fields than {sorted(_PATH_FIELDS)}"
            )
        return path

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        spec = find(self.name)
        if not self.base_url and spec.default_base_url is None:
            raise ValueError(f"{self.name} has no address of its own: a base URL is needed")
        base_url = self.base_url or spec.default_base_url or ""
        if origin(base_url) is None or "?" in base_url or "#" in base_url:
            raise ValueError(f"{base_url!r} is no http(s) address")
        # The model is frozen for everybody else.
        object.__setattr__(self, "base_url", base_url.rstrip("/"))
        if self.image_transport not in spec.image_transports:
            taken = ", ".join(transport for transport in ImageTransport if transport in spec.image_transports)
            raise ValueError(
                f"{self.name} takes no image as {self.image_transport}; the image transport may be {taken}"
            )
        if spec.needs_key and not self.api_key.get_secret_value():
            raise ValueError(f"{self.name} needs a key")
        return self
