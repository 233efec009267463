"""Metrics in Prometheus' text format: counters, gauges and histograms with labels, and the registry that shows them.

A component makes one `Registry`, hands it to the parts that count, and `sampan.http.health` serves it. There is no
global registry: two components in one process never mix their figures.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

import resource
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Labels = tuple[str, ...]


class Metric:
    """One family. The values of its labels are given, in order, wherever something is counted."""

    kind = ""

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text = name, text
        self._labels = tuple(labels)

    def lines(self) -> Iterator[str]:
        raise AssertionError("a metric is of some kind")

    def _sample(self, values: Labels, value: float, suffix: str = "", bound: str = "") -> str:
        pairs = sorted(f'{name}="{_escaped(text)}"' for name, text in zip(self._labels, values, strict=True))
        if bound:
            pairs.append(f'le="{bound}"')
        shown = "{" + ",".join(pairs) + "}" if pairs else ""
        return f"{self.name}{suffix}{shown} {value:.15g}"


class Counter(Metric):
    """Only grows."""

    kind = "counter"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1) -> None:
        self._values[labels] = self._values.get(labels, 0) + by

    def lines(self) -> Iterator[str]:
        for labels, value in self._values.items():
            yield self._sample(labels, value)


class Gauge(Metric):
    """A present value, asked for when it is shown, so that keeping it costs nothing."""

    kind = "gauge"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._sources: dict[Labels, Callable[[], float]] = {}

    def read(self, source: Callable[[], float], *labels: str) -> None:
        """Show what `source` says. The last source given for the same labels counts."""
        self._sources[labels] = source

    def lines(self) -> Iterator[str]:
        for labels, source in self._sources.items():
            yield self._sample(labels, source())


class Level(Metric):
    """A value with labels that its owner sets; nothing is shown before that, unless there are no labels."""

    kind = "gauge"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._values: dict[Labels, float] = {} if labels else {(): 0.0}

    def set(self, value: float, *labels: str) -> None:
        self._values[labels] = value

    def lines(self) -> Iterator[str]:
        for labels, value in self._values.items():
            yield self._sample(labels, value)


class Value(Metric):
    """A counter or gauge without labels that its owner sets."""

    def __init__(self, name: str, kind: str, text: str) -> None:
        super().__init__(name, text)
        self.kind = kind
        self.value = 0.0

    def lines(self) -> Iterator[str]:
        yield self._sample((), self.value)


class Histogram(Metric):
    """Observations counted by upper bound."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS) -> None:
        super().__init__(name, text, labels)
        self._bounds = tuple(buckets)
        self._counts: dict[Labels, list[int]] = {} if labels else {(): [0] * (len(self._bounds) + 1)}
        self._sums: dict[Labels, float] = dict.fromkeys(self._counts, 0.0)

    def observe(self, value: float, *labels: str) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += 1
        self._sums[labels] += value

    def lines(self) -> Iterator[str]:
        bounds = [f"{bound:g}" for bound in self._bounds] + ["+Inf"]
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip(bounds, counts, strict=True):
                total += count
                yield self._sample(labels, total, "_bucket", bound)
            yield self._sample(labels, self._sums[labels], "_sum")
            yield self._sample(labels, total, "_count")


M = TypeVar("M", bound=Metric)


class Registry:
    """The metrics of one component, with the process's own."""

    def __init__(self) -> None:
        self._metrics: list[Metric] = []
        usage = self.add(Gauge("process_cpu_seconds_total", "Total user and system CPU time spent in seconds."))
        usage.kind = "counter"
        usage.read(_cpu_seconds)
        memory = self.add(Gauge("process_resident_memory_bytes", "Resident memory size in bytes."))
        memory.read(_resident_bytes)

    def add(self, metric: M) -> M:
        self._metrics.append(metric)
        return metric

    def render(self) -> bytes:
        """The whole answer to /metrics."""
        lines: list[str] = []
        for metric in self._metrics:
            lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round(usage.ru_utime + usage.ru_stime, 3)


def _resident_bytes() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
