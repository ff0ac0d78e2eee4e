"""From values to what `prometheus_client` exposes. Needs `prometheus_client`, which server and clinic depend on.

Each exporter has a table of its metrics next to it (`metrics.toml`): name, help text and labels. A name that ends in
`_total` is a counter, any other a gauge.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

Table = Mapping[str, list[str]]
"""Name to help text and labels."""


def read_table(path: Path) -> Table:
    """The metrics in a `metrics.toml`."""
    return tomllib.loads(path.read_text())


class Families:
    """Samples of one scrape.

    Parameters
    ----------
    table : Table
        The metrics that may be added.
    *leading : str
        Values of every metric's first labels, put before those given to `add`.
    """

    def __init__(self, table: Table, *leading: str) -> None:
        self._table, self._leading = table, leading
        self._families: dict[str, Family] = {}

    def add(self, name: str, value: float | None, *labels: str) -> None:
        """One sample; None adds nothing. `KeyError` for a name that the table lacks."""
        text, *names = self._table[name]
        values = [*self._leading, *labels]
        if len(values) != len(names):
            raise ValueError(f"{name} has the labels {names}, given were {values}")
        if value is None:
            return
        if name not in self._families:
            make = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            self._families[name] = make(name, text, labels=names)
        self._families[name].add_metric(values, float(value))  # type: ignore[attr-defined]

    def add_all(self, values: Mapping[str, float | None], *labels: str) -> None:
        """A sample of each of several metrics with the same labels."""
        for name, value in values.items():
            self.add(name, value, *labels)

    def one_of(self, name: str, values: tuple[str, ...], now: str, *labels: str) -> None:
        """An enumeration: a sample for each value, 1 for the present one and 0 for the others."""
        for value in values:
            self.add(name, value == now, *labels, value)

    def histogram(self, name: str, bounds: tuple[float, ...], counts: list[int], total: float) -> None:
        """A histogram without labels: `counts` of each bucket, the last one without an upper bound."""
        buckets, below = [], 0
        for bound, count in zip([*map(str, map(float, bounds)), "+Inf"], counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        self._families[name] = HistogramMetricFamily(name, self._table[name][0], buckets=buckets, sum_value=total)

    def collect(self) -> Iterator[Family]:
        """All families, as a collector gives them."""
        return iter(self._families.values())
