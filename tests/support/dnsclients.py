"""Clients of a DNS server on loopback: dnspython and dig, each over UDP and TCP, that tell the same of an answer."""

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

HOST = "127.0.0.1"
SECONDS = 10.0


@dataclass(frozen=True, order=True)
class Record:
    """A resource record; its owner in lower case, as names are the same in any."""

    name: str
    type: str
    data: str
    ttl: int = field(compare=False, default=0)


@dataclass(frozen=True)
class Answer:
    """What came back. The records of a section are sorted."""

    status: str
    flags: frozenset[str]
    answer: list[Record]
    authority: list[Record]
    additional: list[Record]

    def data(self, kind: str) -> list[str]:
        """The data of the answer's records of one type."""
        return [record.data for record in self.answer if record.type == kind]


Client = Callable[[int, str, str], Answer]
"""Asks the server at a port for a name and a type."""


def over_udp(port: int, name: str, kind: str) -> Answer:
    query = dns.message.make_query(name, kind, use_edns=0, payload=4096)
    return _told(dns.query.udp(query, HOST, SECONDS, port))


def over_tcp(port: int, name: str, kind: str) -> Answer:
    return _told(dns.query.tcp(dns.message.make_query(name, kind), HOST, SECONDS, port))


def dig(port: int, name: str, kind: str, *options: str) -> Answer:
    """The program as people use it; it goes to TCP by itself when an answer was cut off."""
    command = ["dig", f"@{HOST}", "-p", str(port), f"+time={int(SECONDS)}", "+nosearch", *options, name, kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * SECONDS, check=True)
    warnings = [line for line in done.stdout.splitlines() if "warning" in line.lower() and ".local is" not in line]
    assert not warnings, done.stdout
    return _read_dig(done.stdout)


def dig_tcp(port: int, name: str, kind: str) -> Answer:
    return dig(port, name, kind, "+tcp")


CLIENTS: dict[str, Client] = {"udp": over_udp, "tcp": over_tcp, "dig": dig, "dig+tcp": dig_tcp}


def _told(message: dns.message.Message) -> Answer:
    return Answer(
        dns.rcode.to_text(message.rcode()),
        frozenset(dns.flags.to_text(message.flags).lower().split()),
        _records(message.answer),
        _records(message.authority),
        _records(message.additional),
    )


def _records(section: Iterable[dns.rrset.RRset]) -> list[Record]:
    return sorted(
        Record(rrset.name.to_text().lower(), dns.rdatatype.to_text(rrset.rdtype), rdata.to_text(), rrset.ttl)
        for rrset in section
        for rdata in rrset
    )


def _read_dig(text: str) -> Answer:
    sections: dict[str, list[Record]] = {"ANSWER": [], "AUTHORITY": [], "ADDITIONAL": []}
    status, flags, current = "", frozenset[str](), ""
    for line in text.splitlines():
        if line.startswith(";; ->>HEADER<<-"):
            status = line.partition("status: ")[2].partition(",")[0]
        elif line.startswith(";; flags: "):
            flags = frozenset(line[len(";; flags: ") :].partition(";")[0].split())
        elif line.startswith(";; ") and line.endswith(" SECTION:"):
            current = line.split()[1]
        elif line and not line.startswith(";") and current in sections:
            name, ttl, _, kind, data = line.split(None, 4)
            sections[current].append(Record(name.lower(), kind, data, int(ttl)))
    return Answer(status, flags, *(sorted(records) for records in sections.values()))
