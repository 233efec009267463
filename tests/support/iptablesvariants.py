"""Which iptables the tests call: the system's own, or iptables-legacy, whose rules are in tables of their own."""

import os
import shutil
from pathlib import Path

import pytest

LEGACY = "iptables-legacy"

COMMANDS = tuple(f"{name}{verb}" for name in ("iptables", "ip6tables") for verb in ("", "-save", "-restore"))


def choose(variant: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The mode of a variant; its commands come first in PATH, with a lock of our own instead of the whole machine's."""
    monkeypatch.setenv("XTABLES_LOCKFILE", str(directory / "lock"))
    if variant != LEGACY:
        return variant
    legacy = shutil.which("xtables-legacy-multi") or pytest.skip("there is no iptables-legacy")
    commands = directory / "commands"
    commands.mkdir()
    for name in COMMANDS:
        (commands / name).symlink_to(legacy)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return "iptables"
