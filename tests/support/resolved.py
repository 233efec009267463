"""The real systemd-resolved and D-Bus on a throw-away machine, from Debian's packages unpacked into a directory.

Installing them would give the machine itself another resolver. `systemctl` is all that is played: the machine has no
systemd that could restart the service.
"""

import shutil
import subprocess
from pathlib import Path

from support.machine import Machine

PACKAGES = (
    "systemd-resolved",
    "libsystemd-shared",
    "libnss-resolve",
    "dbus-daemon",
    "dbus-system-bus-common",
    "libdbus-1-3",
    "libapparmor1",
)
STUB = "/run/systemd/resolve/stub-resolv.conf"
_USERS = ("messagebus:x:990:990::/nonexistent:/usr/sbin/nologin", "systemd-resolve:x:991:991::/:/usr/sbin/nologin")
_SYSTEMCTL = f"""\
#!/bin/sh
case "$*" in
"try-reload-or-restart systemd-resolved.service"|"start systemd-resolved.service") ;;
*) echo "systemctl $* is not played" >&2; exit 1 ;;
esac
[ ! -e /run/resolved.pid ] || kill "$(cat /run/resolved.pid)"
while [ -e /run/resolved.pid ] && kill -0 "$(cat /run/resolved.pid)" 2>/dev/null; do sleep 0.01; done
mkdir -p /run/systemd/resolve
chown systemd-resolve: /run/systemd/resolve
rm -f {STUB}
setsid /usr/lib/systemd/systemd-resolved </dev/null >>/run/resolved.log 2>&1 &
echo $! >/run/resolved.pid
i=0
while [ ! -e {STUB} ] || ! resolvectl status >/dev/null 2>&1; do
    i=$((i + 1)); [ $i -lt 200 ] || exit 1; sleep 0.02
done
"""


class Unavailable(Exception):
    """Why the packages cannot be had here."""


def unpack(directory: Path) -> Path:
    """A /usr with nothing but what is missing. Raises Unavailable."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("needs apt-get and dpkg-deb, which systemd-resolved is fetched with")
    packages, root = directory / "packages", directory / "root"
    packages.mkdir()
    fetch = ["apt-get", "download", "-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10", *PACKAGES]
    try:
        subprocess.run(fetch, cwd=packages, capture_output=True, text=True, timeout=60, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"systemd-resolved cannot be fetched: {error.stderr or error}") from error
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=60)
    for place in ("lib", "bin", "sbin"):
        if (root / place).exists():
            shutil.copytree(root / place, root / "usr" / place, symlinks=True, dirs_exist_ok=True)
    systemctl = root / "usr" / "bin" / "systemctl"
    systemctl.write_text(_SYSTEMCTL)
    systemctl.chmod(0o755)
    return root / "usr"


def start(machine: Machine, server: str) -> None:
    """Let systemd-resolved be the machine's resolver, with this name server behind it."""
    known = machine.read("/etc/passwd")
    missing = [user for user in _USERS if f"\n{user.partition(':')[0]}:" not in known]
    machine.write("/etc/passwd", known + "".join(f"{user}\n" for user in missing))
    groups = "".join(f"{user.split(':')[0]}:x:{user.split(':')[3]}:\n" for user in missing)
    machine.write("/etc/group", machine.read("/etc/group") + groups)
    machine.write("/etc/systemd/resolved.conf", f"[Resolve]\nDNS={server}\nLLMNR=no\nMulticastDNS=no\n")
    machine.run("mkdir", "-p", "/run/dbus")
    machine.run("dbus-daemon", "--system", "--fork", "--nopidfile")
    machine.run("ln", "-sf", STUB, "/etc/resolv.conf")
    machine.run("systemctl", "start", "systemd-resolved.service")
