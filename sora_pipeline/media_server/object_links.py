"""Where a person finds a file of an object store in a browser, signed in there: links that hold no secret.

Presigned links are made by the media server when somebody follows one of its own, and last minutes: in Dagster's event log they
would be secrets that everybody reads, and dead within days.
"""

import os
from urllib.parse import quote

import fsspec

_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""Where one of these is set, ``s3://`` is not Amazon's."""


def object_link(uri: str) -> str | None:
    """A link to an object's page or content at its provider; None where none can be formed."""
    scheme, _, rest = uri.partition("://")
    place, _, key = rest.partition("/")
    if not (place and key):
        return None
    match scheme.lower():
        case "s3" | "s3a" if not _is_elsewhere():
            return f"https://s3.console.aws.amazon.com/s3/object/{place}?prefix={quote(key, safe='')}"
        case "gs" | "gcs":
            return f"https://storage.cloud.google.com/{place}/{quote(key)}"
        case "abfs" | "abfss" | "az" if "@" in place:
            container, _, host = place.partition("@")
            return f"https://{host.replace('.dfs.', '.blob.')}/{container}/{quote(key)}"
        case _:
            return None


def _is_elsewhere() -> bool:
    """Whether ``s3://`` is another maker's, as the variables of Amazon's tools or options of the driver say."""
    options = fsspec.config.conf.get("s3", {})
    named = {**options.get("client_kwargs", {}), **options}.get("endpoint_url")
    return bool(named) or any(os.environ.get(name) for name in _ENDPOINTS)
