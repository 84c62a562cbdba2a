"""How much a manifest may hold. What is beyond is refused before it is unpacked: a few kB can unpack to all of a machine's memory."""

from sora_pipeline.manifest.problems import ManifestError

MAX_ROWS = 1_000_000
"""Rows, and clips (a row's takes count each)."""
MAX_COLUMNS = 1_000
MAX_CELLS = 20_000_000
MAX_MIB = 256
"""The file, and what it unpacks to."""
MAX_BYTES = MAX_MIB * 2**20
MAX_CELL_CHARS = 131_071
"""The longest cell that Python's csv module reads as it is, and so what reads our own CSV files."""
MAX_NAME_CHARS = 200
MAX_DEPTH = 8
"""Lists and records within each other."""


def require_at_most(uri: str, most: int, found: int, what: str) -> None:
    """Refuse a manifest that has more of something than is allowed.

    Raises:
        ManifestError: naming both numbers and what to do.
    """
    if found > most:
        raise ManifestError(
            uri,
            f"it has {found:,} {what}; up to {most:,} are allowed. Leave some out, or split it into several manifests.",
        )


def require_bytes(uri: str, found: int, what: str, times: int = 1) -> None:
    """Refuse a manifest that is, or unpacks to, more bytes than are allowed.

    Raises:
        ManifestError: naming both sizes and what to do.
    """
    if found > times * MAX_BYTES:
        raise ManifestError(
            uri,
            f"{what} {found / 2**20:,.0f} MiB or more; up to {times * MAX_MIB} MiB are allowed. Split it into several manifests.",
        )
