"""iptables through its own commands: read a whole table set, and load many rules at once.

Both variants (nft and legacy) understand what is used here; which one is called is the system's choice.
"""

import shutil
from collections.abc import Mapping, Sequence

from sampan.kernel import commands

_PREFIX = {4: "iptables", 6: "ip6tables"}
_WAIT = ("-w", "60")
"""Seconds to wait for others to finish: with iptables-legacy a large table keeps them waiting."""


class IptablesError(Exception):
    """The command refused its input; the message is what it said."""


def missing(family: int) -> str:
    """The name of a command that is needed and not installed; empty if all are there."""
    names = (f"{_PREFIX[family]}-restore", f"{_PREFIX[family]}-save")
    return next((name for name in names if shutil.which(name) is None), "")


async def is_legacy(family: int) -> bool:
    """Whether the commands are those of the old tables, written whole each time. Raises IptablesError."""
    return b"legacy" in await _run([f"{_PREFIX[family]}-restore", "--version"])


async def save(family: int, table: str) -> list[str]:
    """The lines of one table: `:CHAIN POLICY [0:0]` and `-A CHAIN …`. Raises IptablesError."""
    output = await _run([f"{_PREFIX[family]}-save", "-t", table])
    return [line for line in output.decode(errors="replace").splitlines() if line[:1] in (":", "-")]


async def stand(family: int, rules: Mapping[str, Sequence[str]]) -> bool:
    """Whether in each table the first of these rules, as iptables-save prints them, is there. Raises IptablesError."""
    for table, lines in rules.items():
        chain = lines[0].split()[1]
        output = await _run([_PREFIX[family], *_WAIT, "-t", table, "-S", chain])
        if lines[0] not in output.decode(errors="replace").splitlines():
            return False
    return True


async def counted(family: int, table: str) -> list[str]:
    """The rules of one table with what they counted: `[packets:bytes] -A CHAIN …`. Raises IptablesError."""
    output = await _run([f"{_PREFIX[family]}-save", "-c", "-t", table])
    return [line for line in output.decode(errors="replace").splitlines() if line.startswith("[")]


async def restore(family: int, text: str, *, test: bool = False) -> None:
    """Load rules and leave all else as it is; each table changes at once. With `test`, only check them.

    Raises IptablesError.
    """
    command = [f"{_PREFIX[family]}-restore", *_WAIT, "--noflush"]
    await _run([*command, "--test"] if test else command, text.encode())


async def _run(command: Sequence[str], given: bytes | None = None) -> bytes:
    ended = await commands.run(command, given)
    if ended.status:
        raise IptablesError(ended.errors or f"{command[0]} ended with status {ended.status}")
    return ended.output
