"""How old the manifests of a scheduled pipeline may be, in Dagster's words."""

from datetime import timedelta

import dagster as dg

from sora_pipeline.settings import Settings

READ_WITHIN_MINUTES = 30
"""After the schedule's time: until then the manifest is read and a first output manifest published."""
_LAST_MINUTE = 59


def freshness_policy(settings: Settings) -> dg.FreshnessPolicy | None:
    """That a manifest is read, and published, soon after each time of the schedule.

    None: there is no schedule, or one whose minute is no plain number.
    """
    minute, _, rest = (settings.cron or "").strip().partition(" ")
    if not (minute.isascii() and minute.isdigit() and int(minute) < _LAST_MINUTE):
        return None
    deadline = min(int(minute) + READ_WITHIN_MINUTES, _LAST_MINUTE)
    try:
        return dg.FreshnessPolicy.cron(
            deadline_cron=f"{deadline} {rest.strip()}",
            lower_bound_delta=timedelta(minutes=deadline - int(minute)),
            timezone=settings.cron_timezone,
        )
    except Exception:  # no cron, or no time zone: the schedule says so
        return None
