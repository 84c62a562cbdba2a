"""Where a clip stands, in the one vocabulary that manifests, tables, notifications and the command line share."""

from enum import StrEnum


class ClipStatus(StrEnum):
    """Where a clip stands, in the words of the output manifest."""

    DELIVERED = "delivered"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"  # the answer to its submit was lost; it may have been billed
    IN_FLIGHT = "in_flight"
    PENDING = "pending"
    INVALID = "invalid"  # the row asks for something that cannot be made
