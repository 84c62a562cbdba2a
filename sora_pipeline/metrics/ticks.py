"""How long the last ticks of a pipeline's sensors took, as Dagster remembers them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


def tick_seconds(instance: "dg.DagsterInstance") -> dict[str, float]:
    """Seconds of the last finished tick of every sensor and schedule, by name; nothing where Dagster cannot be asked."""
    seconds: dict[str, float] = {}
    for state in instance.all_instigator_state():
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=2)
        ended = [tick for tick in ticks if tick.end_timestamp is not None]
        if ended:
            seconds[state.instigator_name] = float(ended[0].end_timestamp or 0) - ended[0].timestamp
    return seconds
