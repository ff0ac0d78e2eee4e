"""From the tables of `metric_names` to what `prometheus_client` exposes. Needs `prometheus_client`, which server and
clinic depend on."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from embryofl.metric_names import Metric


class Families:
    """Samples of one scrape.

    Parameters
    ----------
    table : mapping of str to Metric
        The metrics that may be added.
    leading : str
        Values of the first labels, put before those given to `add`.
    """

    def __init__(self, table: Mapping[str, Metric], *leading: str) -> None:
        self._table, self._leading = table, leading
        self._found: dict[str, Family] = {}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """One sample; None adds nothing. `KeyError` for a name that the table lacks."""
        metric = self._table[name]
        values = [*self._leading, *labels]
        if len(values) != len(metric.labels):
            raise ValueError(f"{name} has the labels {metric.labels}, given were {values}")
        if value is None:
            return
        if name not in self._found:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            self._found[name] = make(name, metric.help, labels=list(metric.labels))
        self._found[name].add_metric(values, float(value))  # type: ignore[attr-defined]

    def one_of(self, name: str, known: tuple[str, ...], now: str, *labels: str) -> None:
        """An enumeration: a sample for each known value, 1 for the present one and 0 for the others."""
        for value in known:
            self.add(name, value == now, *labels, value)

    def histogram(self, name: str, bounds: tuple[float, ...], counts: list[int], total: float) -> None:
        """A histogram without labels: `counts` of each bucket, the last one without an upper bound."""
        buckets, below = [], 0
        for bound, count in zip([*map(str, map(float, bounds)), "+Inf"], counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        self._found[name] = HistogramMetricFamily(name, self._table[name].help, buckets=buckets, sum_value=total)

    def __iter__(self) -> Iterator[Family]:
        return iter(self._found.values())
