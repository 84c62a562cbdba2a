"""Turns a look at the ledger into metrics. A look takes a few indexed queries, however many clips there are.

Whatever process serves it, and however often it is started anew, says the same: all of it is read, none of it counted here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.recent import End
from sora_pipeline.ledger.types import status_of_standing
from sora_pipeline.settings import Settings

WINDOW_S = 900.0
"""Seconds that metrics of what happened lately are about."""
QUANTILES = (0.5, 0.95)
DELIVERED = "delivered"

Ticks = Callable[[], Mapping[str, float]]


class LedgerCollector(Collector):
    """Asks the ledger whenever somebody scrapes.

    Args:
        ledger: The ledger.
        settings: Limits of the account that is configured here.
        ticks: Seconds that the last tick of each sensor took, by its name.
    """

    def __init__(self, ledger: Ledger, settings: Settings, ticks: Ticks = dict) -> None:
        self._ledger = ledger
        self._settings = settings
        self._ticks = ticks

    def collect(self) -> Iterator[Metric]:
        """Every metric as it is now."""
        yield from self._clips()
        yield from self._money()
        yield from self._limits()
        yield from self._lately()
        yield from self._machinery()

    def _clips(self) -> Iterator[Metric]:
        counts: Counter[tuple[str, str]] = Counter()
        for production, standing, tries, clips in self._ledger.recent.clip_counts():
            status = status_of_standing(standing, tries, self._settings.max_attempts)
            counts[production, str(status)] += clips
        yield _gauge(
            "sora_clips",
            "Clips that a production wants, by how they stand.",
            ("production", "status"),
            counts.items(),
        )

    def _money(self) -> Iterator[Metric]:
        charges = self._ledger.recent.charges()
        labels = ("production", "account", "simulated")
        keys = [(each.production_id, each.account, str(each.simulated).lower()) for each in charges]
        billed = zip(keys, (each.billed_usd for each in charges), strict=True)
        yield _gauge("sora_billed_usd", "US dollars that providers billed, or may have.", labels, billed)
        committed = zip(keys, (each.committed_usd for each in charges), strict=True)
        yield _gauge(
            "sora_committed_usd", "US dollars billed, or reserved for submits under way.", labels, committed
        )
        productions = self._ledger.productions.all()
        budgets = [
            ((each.production_id,), float(each.budget_usd))
            for each in productions
            if each.budget_usd is not None
        ]
        yield _gauge("sora_budget_usd", "US dollars that a production may cost.", ("production",), budgets)
        account, daily = self._settings.account_name, self._settings.budget_daily_usd
        today = [((account,), float(self._ledger.money.of_today(account).committed_usd))]
        yield _gauge("sora_today_usd", "US dollars committed today (UTC) at an account.", ("account",), today)
        limit = [] if daily is None else [((account,), float(daily))]
        yield _gauge(
            "sora_budget_daily_usd", "US dollars that a day may cost at an account.", ("account",), limit
        )

    def _limits(self) -> Iterator[Metric]:
        slots = {self._settings.account_name: 0} | self._ledger.recent.slots()
        yield _gauge(
            "sora_slots_taken", "Concurrent jobs that are taken at an account.", ("account",), _by_one(slots)
        )
        most = [((self._settings.account_name,), float(self._settings.max_in_flight))]
        yield _gauge("sora_slots", "Concurrent jobs that an account may have.", ("account",), most)
        breakers = [((each.account, each.model, each.kind), 1.0) for each in self._ledger.breakers.all_open()]
        yield _gauge(
            "sora_breaker_open",
            "1 where submits are stopped; model is empty for all.",
            ("account", "model", "kind"),
            breakers,
        )
        paused = [(("account", name), 1.0) for name in self._ledger.paused.accounts()]
        paused += [
            (("production", each.production_id), 1.0)
            for each in self._ledger.productions.all()
            if each.paused_at is not None
        ]
        yield _gauge("sora_paused", "1 for what a person has paused.", ("what", "name"), paused)

    def _lately(self) -> Iterator[Metric]:
        submits = self._ledger.recent.submits(WINDOW_S)
        yield _gauge(
            "sora_submits_15m", "Submits that left within 15 minutes.", ("account",), _by_one(submits)
        )
        ends = self._ledger.recent.ends(WINDOW_S)
        counts = Counter((end.account, end.model, end.error_kind or DELIVERED) for end in ends)
        yield _gauge(
            "sora_ends_15m",
            "Attempts that ended within 15 minutes, by outcome.",
            ("account", "model", "outcome"),
            counts.items(),
        )
        for name, means, of in (
            ("sora_queue_seconds", "From reservation to acceptance, of ends within 15 minutes.", _queue_s),
            (
                "sora_render_seconds",
                "From acceptance to the end of rendering, of ends within 15 minutes.",
                _render_s,
            ),
        ):
            yield _gauge(name, means, ("account", "model", "quantile"), _quantiles(ends, of))

    def _machinery(self) -> Iterator[Metric]:
        delays = self._ledger.recent.poll_delays_s()
        yield _gauge(
            "sora_poll_delay_seconds",
            "How long the prediction that waits longest should have been polled.",
            ("account",),
            _by_one(delays),
        )
        now = self._ledger.now()
        pipelines = {each.pipeline for each in self._ledger.productions.all()}
        seen = [
            ((name,), (now - last.seen_at).total_seconds())
            for name in sorted(pipelines)
            if (last := self._ledger.pipelines.seen(name)) is not None
        ]
        yield _gauge(
            "sora_daemon_seen_seconds",
            "Since a pipeline's daemon gave its last sign of life.",
            ("pipeline",),
            seen,
        )
        yield _gauge(
            "sora_tick_seconds", "What the last tick of a sensor took.", ("sensor",), _by_one(self._ticks())
        )


def _gauge(
    name: str, means: str, labels: Sequence[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, means, labels=labels)
    for key, value in values:
        gauge.add_metric(key, value)
    return gauge


def _by_one(values: Mapping[str, float]) -> list[tuple[tuple[str, ...], float]]:
    return [((name,), float(value)) for name, value in values.items()]


def _queue_s(end: End) -> float | None:
    return end.queue_s


def _render_s(end: End) -> float | None:
    return end.render_s


def _quantiles(
    ends: Iterable[End], of: Callable[[End], float | None]
) -> Iterator[tuple[tuple[str, ...], float]]:
    """By account and model: values that so large a part of the ends stays below."""
    values: dict[tuple[str, str], list[float]] = {}
    for end in ends:
        if (seconds := of(end)) is not None:
            values.setdefault((end.account, end.model), []).append(seconds)
    for (account, model), of_model in values.items():
        ordered = sorted(of_model)
        for quantile in QUANTILES:
            yield (
                (account, model, str(quantile)),
                ordered[min(len(ordered) - 1, int(quantile * len(ordered)))],
            )
