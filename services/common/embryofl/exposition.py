"""What an exporter gives `prometheus_client`: each metric is declared where its value is computed, in one call with its
kind, name, help text, value and labels. Needs `prometheus_client`, which server and clinic depend on."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family


class Families:
    """Samples of one scrape.

    Parameters
    ----------
    **leading : str
        Labels that every sample has before its own.
    """

    def __init__(self, **leading: str) -> None:
        self._leading = leading
        self._families: dict[str, tuple[Family, tuple[str, ...]]] = {}

    def gauge(self, name: str, text: str, value: float | None, /, **labels: str) -> None:
        """One sample of a gauge; None adds nothing."""
        self._add(GaugeMetricFamily, name, text, value, labels)

    def gauges(self, *rows: tuple[str, str, float | None], **labels: str) -> None:
        """Gauges that share their labels: name, help text and value of each."""
        for name, text, value in rows:
            self.gauge(name, text, value, **labels)

    def counter(self, name: str, text: str, value: float | None, /, **labels: str) -> None:
        """One sample of a counter; None adds nothing."""
        self._add(CounterMetricFamily, name, text, value, labels)

    def _add(
        self,
        kind: type[GaugeMetricFamily | CounterMetricFamily],
        name: str,
        text: str,
        value: float | None,
        labels: dict[str, str],
    ) -> None:
        if value is None:
            return
        labels = {**self._leading, **labels}
        if name not in self._families:
            self._families[name] = kind(name, text, labels=list(labels)), tuple(labels)
        family, names = self._families[name]
        if names != tuple(labels):
            raise ValueError(f"{name} has the labels {names}, given were {tuple(labels)}")
        family.add_metric(list(labels.values()), float(value))  # type: ignore[attr-defined]

    def one_of(self, name: str, text: str, label: str, known: tuple[str, ...], now: str, /, **labels: str) -> None:
        """An enumeration: a gauge for each known value of `label`, 1 for the present one and 0 for the others."""
        for value in known:
            self.gauge(name, text, value == now, **labels, **{label: value})

    def histogram(self, name: str, text: str, bounds: tuple[float, ...], counts: list[int], total: float, /) -> None:
        """A histogram without labels: `counts` of each bucket, the last one without an upper bound."""
        buckets, below = [], 0
        for bound, count in zip([*map(str, map(float, bounds)), "+Inf"], counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        self._families[name] = HistogramMetricFamily(name, text, buckets=buckets, sum_value=total), ()

    def collect(self) -> Iterator[Family]:
        """All families, as a collector gives them."""
        return (family for family, _ in self._families.values())
