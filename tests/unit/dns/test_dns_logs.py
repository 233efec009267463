"""A log that nobody reads: the server goes on, what is given up is counted, and the log says so."""

import logging
import os
import re
import select
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sampan.dns.logs import LogWriter
from sampan.dns.wire import encode_name

HOST = "127.0.0.1"
SECONDS = 10


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with suppress(OSError):
            os.close(end)


def record(text):
    return logging.LogRecord("x", logging.INFO, "", 0, text, (), None)


def read_while(file, waiting):
    """What can be read as long as `waiting(text so far)`, and no longer than a test may last."""
    found = b""
    deadline = time.monotonic() + SECONDS
    while waiting(found) and time.monotonic() < deadline:
        if select.select([file], [], [], 0.01)[0]:
            found += os.read(file, 65536)
    return found


def test_every_line_arrives_in_order(pipe):
    reading, writing = pipe
    writer = LogWriter(writing)
    for number in range(500):
        writer.handle(record(f"line {number}"))
    text = read_while(reading, lambda text: b"line 499\n" not in text).decode()
    assert text.splitlines() == [f"line {number}" for number in range(500)]
    assert writer.lost == 0
    writer.close()


def test_who_logs_never_waits_and_what_is_lost_is_told_when_the_reader_goes_on(pipe):
    reading, writing = pipe
    writer = LogWriter(writing, room=100)
    for number in range(5000):
        writer.handle(record(f"{number} {'x' * 100}"))
    assert 1000 < writer.lost < 5000

    def untold(text):
        writer.handle(record("again"))
        return sum(map(int, re.findall(rb"\[WARNING\] (\d+) lines of this log were dropped", text))) != writer.lost

    text = read_while(reading, untold)
    assert not untold(text)
    assert text.startswith(b"0 x")
    writer.close()


def test_a_reader_that_is_gone_costs_lines_and_nothing_else(pipe):
    reading, writing = pipe
    os.close(reading)
    writer = LogWriter(writing)
    writer.handle(record("nobody hears this"))
    deadline = time.monotonic() + SECONDS
    while not writer.lost and time.monotonic() < deadline:
        time.sleep(0.001)
    assert writer.lost == 1
    writer.close()


COREFILE = """\
.:{dns} {{
    log
    health {host}:{health}
    prometheus {host}:{metrics}
    hosts {{
        10.9.9.9 a.example
    }}
}}
"""


@contextmanager
def server(directory: Path, ports):
    (directory / "Corefile").write_text(COREFILE.format(host=HOST, **ports))
    command = [sys.executable, "-c", "import sys; from sampan.cli.main import main; sys.exit(main())", "dns"]
    command += ["--conf", str(directory / "Corefile"), "--listen", HOST]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def query(number):
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + encode_name("a.example") + b"\0\1\0\1"


def test_a_full_pipe_behind_the_log_does_not_stop_the_answers(tmp_path):
    """Nobody reads standard error: five times what pipe and queue can hold is asked for, and all of it is answered."""
    ports = {name: free_port() for name in ("dns", "health", "metrics")}
    with server(tmp_path, ports), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect((HOST, ports["dns"]))
        client.settimeout(0.2)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError):
                client.send(query(0))
                client.recv(512)
                break
            time.sleep(0.02)
        client.settimeout(SECONDS)
        for start in range(0, 20_000, 50):
            for number in range(start, start + 50):
                client.send(query(number))
            assert len({client.recv(512)[:2] for _ in range(50)}) == 50
        address = f"http://{HOST}:{ports['metrics']}/metrics"
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:
            numbers = answer.read().decode()
        found = re.search(r"^sampan_dns_log_lines_dropped_total (\d+)", numbers, re.MULTILINE)
        assert int(found[1]) > 10_000
        with urllib.request.urlopen(f"http://{HOST}:{ports['health']}/health", timeout=SECONDS) as answer:
            assert answer.status == 200
