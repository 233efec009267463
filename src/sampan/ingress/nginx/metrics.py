"""nginx's metrics under the names that dashboards of ingress-nginx ask for.

nginx writes a line per request into a private file, in blocks and each second, which costs it less than any hook does.
`RequestMetrics` reads them, counts, and gives the read part of the file back to the file system. Lines that come while
no controller runs are counted by the next one. Lengths are bytes, times are seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import re
import time
from collections import Counter as Tally
from pathlib import Path

from sampan.http.metrics import Counter, Histogram, Level, Registry
from sampan.ingress.nginx.master import Master, NginxError
from sampan.ingress.nginx.servers import WILDCARD

log = logging.getLogger("sampan.ingress.nginx")

PREFIX = "nginx_ingress_controller_"
METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE PROPFIND MKCOL COPY MOVE LOCK".split())
"""Clients may send any word: others count as OTHER, so that they cannot make series without end."""
LABELS = ("host", "path", "method", "status", "namespace", "ingress", "service", "canary")
OWN = ("controller_class", "controller_namespace", "controller_pod")
_TIMES = (
    ("request_duration_seconds", "The request processing time in seconds"),
    ("response_duration_seconds", "The time spent on receiving the response from the upstream server"),
    ("connect_duration_seconds", "The time spent on establishing a connection with the upstream server"),
    ("header_duration_seconds", "The time spent on receiving first header from the upstream server"),
)
_SIZES = (
    ("request_size", "The request length (including request line, header, and request body)", range(10, 101, 10)),
    ("response_size", "The response length (including request line, header, and request body)", range(10, 101, 10)),
    ("bytes_sent", "The number of bytes sent to a client", tuple(10**power for power in range(1, 8))),
)
_PROCESS = (
    ("requests_total", "total number of client requests"),
    ("num_procs", "number of processes"),
    ("cpu_seconds_total", "Cpu usage in seconds"),
    ("resident_memory_bytes", "number of bytes of memory in use"),
    ("virtual_memory_bytes", "number of bytes of memory in use"),
    ("read_bytes_total", "number of bytes read"),
    ("write_bytes_total", "number of bytes written"),
)
_ESCAPE = re.compile(rb"\\x([0-9A-F]{2})")
_CHUNK = 1 << 20
_FALLOC_PUNCH = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE (fallocate(2))
_STATUS = re.compile(
    rb"Active connections: (\d+).*?(\d+) (\d+) (\d+)\s+Reading: (\d+) Writing: (\d+) Waiting: (\d+)", re.S
)


class RequestMetrics:
    """Counts requests and shows nginx's processes. `own` are class, namespace and pod of the controller."""

    def __init__(self, registry: Registry, master: Master, own: tuple[str, str, str] = ("", "", "")) -> None:
        self._master, self._own = master, own
        self._path = master.place.private / "records.log"
        self._at = 0
        self._rest = b""
        labels = (*OWN, *LABELS)
        self.requests = registry.add(Counter(PREFIX + "requests", "The total number of client requests", labels))
        self._times = [registry.add(Histogram(PREFIX + name, text, labels)) for name, text in _TIMES]
        self._sizes = [registry.add(Histogram(PREFIX + name, text, labels, buckets)) for name, text, buckets in _SIZES]
        self._connections = registry.add(Level(
            PREFIX + "nginx_process_connections", "current number of client connections with state "
            "{active, reading, writing, waiting}", (*OWN, "state")))  # fmt: skip
        self._connections_total = registry.add(Level(
            PREFIX + "nginx_process_connections_total", "total number of connections with state {accepted, handled}",
            (*OWN, "state")))  # fmt: skip
        self._connections_total.kind = "counter"
        self._process = {
            name: registry.add(Level(f"{PREFIX}nginx_process_{name}", text, OWN)) for name, text in _PROCESS
        }
        for name, level in self._process.items():
            level.kind = "counter" if name.endswith("_total") else "gauge"

    async def run(self, seconds: float = 1.0) -> None:
        """Read until cancelled."""
        while True:
            try:
                while self.read():
                    await asyncio.sleep(0)
                await self._read_status()
            except (OSError, NginxError, TimeoutError) as problem:
                log.debug("metrics: %s", problem)
            await asyncio.sleep(seconds)

    def read(self) -> bool:
        """Count what nginx has written; whether there may be more at once."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if self._at > os.fstat(descriptor).st_size:
                self._at, self._rest = 0, b""
            with contextlib.suppress(OSError):  # ENXIO: no data behind; what was read before is a hole now
                self._at = max(self._at, os.lseek(descriptor, self._at, os.SEEK_DATA))
            data = os.pread(descriptor, _CHUNK, self._at)
            self._at += len(data)
            if data:
                _give_back(descriptor, self._at)
        finally:
            os.close(descriptor)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line, times in Tally(lines).items():
            self._count(line, times)
        return len(data) == _CHUNK

    def _count(self, line: bytes, times: int) -> None:
        fields = line.lstrip(b"\0").split(b"\t")
        if len(fields) != 14:
            return
        method = fields[2] if fields[2] in METHODS else b"OTHER"
        host, *rest = map(_text, (*fields[:2], method, *fields[3:8]))
        labels = (*self._own, host_label(host), *rest)
        self.requests.add(*labels, by=times)
        for histogram, text in zip(self._times, fields[8:12], strict=True):
            value = _last_number(text)
            if value is not None:
                histogram.observe(value, *labels, times=times)
        length, sent = _last_number(fields[12]), _last_number(fields[13])
        for histogram, value in zip(self._sizes, (length, sent, sent), strict=True):
            if value is not None:
                histogram.observe(value, *labels, times=times)

    async def _read_status(self) -> None:
        found = _STATUS.search(await self._master.request("GET", "/status"))
        if found is None:
            return
        active, accepted, handled, requests, reading, writing, waiting = map(int, found.groups())
        for state, value in (("active", active), ("reading", reading), ("writing", writing), ("waiting", waiting)):
            self._connections.set(value, *self._own, state)
        for state, value in (("accepted", accepted), ("handled", handled)):
            self._connections_total.set(value, *self._own, state)
        for name, figure in {"requests_total": float(requests), **self._master_figures()}.items():
            self._process[name].set(figure, *self._own)

    def _master_figures(self) -> dict[str, float]:
        """What all of nginx's processes use (proc(5))."""
        pids = [self._master.pid, *self._master.workers(), *self._master.old_workers()]
        figures = dict.fromkeys(
            ("cpu_seconds_total", "resident_memory_bytes", "virtual_memory_bytes", "read_bytes_total",
             "write_bytes_total"), 0.0)  # fmt: skip
        ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        for pid in pids:
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                figures["cpu_seconds_total"] += (int(stat[11]) + int(stat[12])) / ticks
                figures["virtual_memory_bytes"] += int(stat[20])
                figures["resident_memory_bytes"] += int(stat[21]) * page
                counted = dict(row.split(": ") for row in Path(f"/proc/{pid}/io").read_text().splitlines())
                figures["read_bytes_total"] += int(counted["rchar"])
                figures["write_bytes_total"] += int(counted["wchar"])
        return {"num_procs": float(len(pids)), **figures}


class ReloadMetrics:
    """Whether nginx took what it was given."""

    def __init__(self, registry: Registry, own: tuple[str, str, str] = ("", "", "")) -> None:
        self._own = own

        def level(name: str, text: str) -> Level:
            return registry.add(Level(PREFIX + name, text, OWN))

        self._successful = level("config_last_reload_successful", "Whether the last configuration reload attempt was "
                                 "successful")  # fmt: skip
        self._at = level("config_last_reload_successful_timestamp_seconds",
                         "Timestamp of the last successful configuration reload.")  # fmt: skip
        self._hash = level("config_hash", "Running configuration hash")
        self._success = registry.add(Counter(PREFIX + "success", "Cumulative number of Ingress controller reload "
                                             "operations", OWN))  # fmt: skip
        self._errors = registry.add(Counter(PREFIX + "errors", "Cumulative number of Ingress controller errors during "
                                            "reload operations", OWN))  # fmt: skip

    def reloaded(self, configuration_hash: int) -> None:
        self._successful.set(1, *self._own)
        self._at.set(time.time(), *self._own)
        self._hash.set(configuration_hash, *self._own)
        self._success.add(*self._own)

    def refused(self) -> None:
        self._successful.set(0, *self._own)
        self._errors.add(*self._own)


def host_label(server_name: str) -> str:
    """The Ingress's host for a name as nginx has it."""
    if server_name.startswith(WILDCARD):
        return "*" + server_name[len(WILDCARD) : -1].replace("\\", "")
    return server_name


def _text(field: bytes) -> str:
    """nginx has escaped what could end a field or a line."""
    if b"\\x" in field:
        field = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), field)
    return field.decode(errors="replace")


def _last_number(text: bytes) -> float | None:
    """The last of several tries; `-` is none."""
    with contextlib.suppress(ValueError, IndexError):
        return float(text.replace(b":", b",").split(b",")[-1])
    return None


def _give_back(descriptor: int, until: int) -> None:
    """Make the read part a hole. Appending goes on at the end, so nothing that is written meanwhile is lost."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate(descriptor, _FALLOC_PUNCH, ctypes.c_int64(0), ctypes.c_int64(until))
