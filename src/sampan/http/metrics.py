"""Metrics in Prometheus' text format: counters, gauges and histograms with labels, and the registry that shows them.

A component makes one `Registry`, hands it to the parts that count, and `sampan.http.health` serves it. There is no
global registry: two components in one process never mix their figures.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

import os
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

    def counts(self) -> Iterator[tuple[Labels, float]]:
        """The present figures: values, or how much was observed."""
        raise AssertionError("a metric is of some kind")

    def total(self, **labels: str) -> float:
        """The sum over all figures that have these labels at least."""
        wanted = set(labels.items())
        return sum(value for found, value in self.counts() if wanted <= set(zip(self._labels, found, strict=True)))

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

    def counts(self) -> Iterator[tuple[Labels, float]]:
        yield from self._values.items()


class Gauge(Metric):
    """A present value, asked for when it is shown, so that keeping it costs nothing; or set by who knows it."""

    kind = "gauge"

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, text, labels)
        self._sources: dict[Labels, Callable[[], float]] = {}

    def read(self, source: Callable[[], float], *labels: str) -> None:
        """Show what `source` says. The last source given for the same labels counts."""
        self._sources[labels] = source

    def set(self, value: float, *labels: str) -> None:
        """Show this from now on."""
        self._sources[labels] = lambda: value

    def clear(self) -> None:
        """Show nothing any more."""
        self._sources.clear()

    def lines(self) -> Iterator[str]:
        for labels, value in self.counts():
            yield self._sample(labels, value)

    def counts(self) -> Iterator[tuple[Labels, float]]:
        for labels, source in self._sources.items():
            yield labels, source()


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

    def counts(self) -> Iterator[tuple[Labels, float]]:
        yield (), self.value


class Histogram(Metric):
    """Observations counted by upper bound."""

    kind = "histogram"

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS) -> None:
        super().__init__(name, text, labels)
        self._bounds = tuple(buckets)
        self._counts: dict[Labels, list[int]] = {} if labels else {(): [0] * (len(self._bounds) + 1)}
        self._sums: dict[Labels, float] = dict.fromkeys(self._counts, 0.0)

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        """Note a value that was seen once, or so many times."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0] * (len(self._bounds) + 1)
            self._sums[labels] = 0.0
        counts[bisect_left(self._bounds, value)] += times
        self._sums[labels] += value * times

    def counts(self) -> Iterator[tuple[Labels, float]]:
        for labels, counts in self._counts.items():
            yield labels, sum(counts)

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
        for name, kind, text, source in _PROCESS:
            gauge = self.add(Gauge(name, text))
            gauge.kind = kind
            gauge.read(source)

    def add(self, metric: M) -> M:
        self._metrics.append(metric)
        return metric

    def named(self, name: str) -> Metric:
        """One family. Raises KeyError."""
        for metric in self._metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)

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


def _pages(at: int) -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[at]) * resource.getpagesize()


def _limit(which: int) -> float:
    limit = resource.getrlimit(which)[0]
    return float(limit) if limit != resource.RLIM_INFINITY else -1.0


def _started() -> float:
    """When the process began: the boot's time and, in ticks after it, the 22nd field of stat (proc(5))."""
    with open("/proc/self/stat", encoding="ascii", errors="replace") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/stat", encoding="ascii") as file:
        boot = next(int(line.split()[1]) for line in file if line.startswith("btime"))
    return boot + ticks / os.sysconf("SC_CLK_TCK")


_PROCESS: tuple[tuple[str, str, str, Callable[[], float]], ...] = (
    ("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", _cpu_seconds),
    ("process_max_fds", "gauge", "Maximum number of open file descriptors.", lambda: _limit(resource.RLIMIT_NOFILE)),
    ("process_open_fds", "gauge", "Number of open file descriptors.", lambda: len(os.listdir("/proc/self/fd")) - 1),
    ("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", lambda: _pages(1)),
    ("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", _started),
    ("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", lambda: _pages(0)),
    ("process_virtual_memory_max_bytes", "gauge", "Maximum amount of virtual memory available in bytes.",
     lambda: _limit(resource.RLIMIT_AS)),
)  # fmt: skip
"""As Prometheus' own libraries show them."""
