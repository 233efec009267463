"""Who a container's program runs as: numbers from the security context, names from the image's own /etc/passwd.

Files are read inside the container's root file system without following links that lead out of it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from sampan.kernel import paths
from sampan.kernel.descriptors import Descriptor
from sampan.node.runtime.types import ContainerError, Security

MAX_BYTES = 4 * 1024 * 1024
"""The largest /etc/passwd or /etc/group that is read."""


@dataclass(frozen=True, slots=True)
class Identity:
    """User, group, further groups and home directory of a process."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True)
class Account:
    """A line of /etc/passwd."""

    name: str
    uid: int
    gid: int
    home: str


def resolve(security: Security, passwd: str, group: str) -> Identity:
    """Decide who to be, given the texts of the image's files. Raises ContainerError for names that are not there."""
    wanted_user, _, wanted_group = security.user.partition(":")
    accounts = _accounts(passwd)
    account = _find_user(str(security.run_as_user) if security.run_as_user is not None else wanted_user, accounts)
    gid = account.gid
    if security.run_as_group is not None:
        gid = security.run_as_group
    elif wanted_group and security.run_as_user is None:
        gid = _find_group(wanted_group, group)
    member_of = _groups_of(account.name, group) if account.name else []
    groups = tuple(sorted({*member_of, *security.supplemental_groups}))
    return Identity(account.uid, gid, groups, account.home or "/")


def _accounts(passwd: str) -> list[Account]:
    rows = (line.split(":") for line in passwd.splitlines())
    return [
        Account(row[0], int(row[2]), int(row[3]), row[5])
        for row in rows
        if len(row) >= 6 and row[2].isdecimal() and row[3].isdecimal()
    ]


def _find_user(wanted: str, accounts: list[Account]) -> Account:
    if not wanted:
        wanted = "0"
    if wanted.isdecimal():
        unknown = Account("", int(wanted), 0, "/root" if wanted == "0" else "/")
        return next((one for one in accounts if one.uid == int(wanted)), unknown)
    for one in accounts:
        if one.name == wanted:
            return one
    raise ContainerError(f"unable to find user {wanted}: no matching entries in passwd file")


def _group_rows(group: str) -> list[list[str]]:
    rows = (line.split(":") for line in group.splitlines())
    return [row for row in rows if len(row) >= 4 and row[2].isdecimal()]


def _find_group(wanted: str, group: str) -> int:
    if wanted.isdecimal():
        return int(wanted)
    for row in _group_rows(group):
        if row[0] == wanted:
            return int(row[2])
    raise ContainerError(f"unable to find group {wanted}: no matching entries in group file")


def _groups_of(name: str, group: str) -> list[int]:
    return [int(row[2]) for row in _group_rows(group) if name in row[3].split(",")]


def identity(security: Security, rootfs: Path) -> Identity:
    """Decide who to be in a container with this root file system."""
    return resolve(security, read_inside(rootfs, "etc/passwd"), read_inside(rootfs, "etc/group"))


def read_inside(rootfs: Path, name: str) -> str:
    """The text of a file in a root file system; empty if there is none. Links cannot lead outside.

    Raises ContainerError if an image has something else there, or far too much.
    """
    try:
        with Descriptor.open(rootfs, os.O_PATH | os.O_DIRECTORY) as root:
            return paths.read_text(root, name, limit=MAX_BYTES)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ContainerError(f"cannot read /{name} of the image: {error.strerror}") from error
