"""How much there was, and how much at once: a relayed connection holds six files, and a process may open only some."""

import resource

FILES_PER_CONNECTION = 6
RESERVED_FILES = 256
MAX_CONNECTIONS = 32768


class Tally:
    """What went through one listener so far."""

    def __init__(self) -> None:
        self.connections = 0
        self.bytes = 0


class Limit:
    """A count that stays below a bound."""

    def __init__(self, bound: int) -> None:
        self.bound = bound
        self.used = 0

    def take(self) -> bool:
        if self.used >= self.bound:
            return False
        self.used += 1
        return True

    def give_back(self) -> None:
        self.used -= 1


def connection_limit() -> Limit:
    """As many connections as the process may open files for, after asking for as many as it can get."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS * FILES_PER_CONNECTION + RESERVED_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return Limit(max(1, (max(soft, allowed) - RESERVED_FILES) // FILES_PER_CONNECTION))
