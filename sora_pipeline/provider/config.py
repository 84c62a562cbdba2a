"""How to reach a provider: the settings all wire formats share."""

import string
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from sora_pipeline.provider.images import ImageTransport
from sora_pipeline.provider.origins import origin
from sora_pipeline.provider.timeouts import Timeouts

# None: there is no address to assume.
DEFAULT_BASE_URLS: dict[str, str | None] = {
    "sandbox": None,
    "gptproto": "https://gptproto.com",
    "gptproto-unified": "https://gptproto.com",
    "openai-videos": "https://gptproto.com",
}
_JSON_ONLY = frozenset({"gptproto-unified"})
_PATH_FIELDS = frozenset({"vendor", "model", "scene"})


class ProviderConfig(BaseModel):
    """One provider at one address with one key. Its repr hides the key.

    Attributes:
        name: The wire format: a key of ``DEFAULT_BASE_URLS``.
        base_url: Scheme, host and perhaps a path; None takes the format's default.
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

    @field_validator("name")
    @classmethod
    def _known_format(cls, name: str) -> str:
        if name not in DEFAULT_BASE_URLS:
            raise ValueError(f"{name!r} is not one of {', '.join(DEFAULT_BASE_URLS)}")
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
        if not self.base_url:
            default = DEFAULT_BASE_URLS[self.name]
            if default is None:
                raise ValueError(f"{self.name} has no address of its own: a base URL is needed")
            # The model is frozen for everybody else.
            object.__setattr__(self, "base_url", default)
        if origin(self.base_url) is None or "?" in self.base_url or "#" in self.base_url:
            raise ValueError(f"{self.base_url!r} is no http(s) address")
        base_url = self.base_url.rstrip("/")
        if self.name == "openai-videos":
            base_url = base_url.removesuffix("/v1")  # as OpenAI's own clients are given it
        object.__setattr__(self, "base_url", base_url)
        if self.name in _JSON_ONLY and self.image_transport is ImageTransport.MULTIPART:
            raise ValueError(f"{self.name} takes JSON only: the image transport cannot be multipart")
        if not self.api_key.get_secret_value() and self.name != "sandbox":
            raise ValueError(f"{self.name} needs a key")
        return self
