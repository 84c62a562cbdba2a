"""Where a clip stands, in the one vocabulary that manifests, tables, notifications and the command line share."""

from enum import StrEnum


class ClipStatus(StrEnum):
    """Where a clip stands, in the words of the output manifest."""

    DELIVERED = "delivered"  # the video is stored and was decoded to its end
    FAILED = "failed"  # there is no video, and error_kind and error_message say why
    AMBIGUOUS = "ambiguous"  # the answer to its submit was lost; it may have been billed
    IN_FLIGHT = "in_flight"  # paid for; it renders, or is fetched
    PENDING = "pending"  # not submitted so far; error_message says what it waits for, where it waits
    INVALID = "invalid"  # the row asks for something that cannot be made


CANCELLED = "cancelled"
"""The error kind of a clip that a person cancelled before it was made: it counts as failed, and is made when somebody asks."""
