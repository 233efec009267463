"""Feed a golden file of the ipvs mode to the programs it names: `ipvscheck.py FILE`, in a network namespace of its own.

Rules are only tested; everything else is really made. On a kernel without IPVS, virtual servers and their device are
left out.
"""

import subprocess
import sys
from pathlib import Path


def parts(text: str) -> dict[str, str]:
    """The input of each program, by the heading that names it."""
    found: dict[str, str] = {}
    for line in text.splitlines(keepends=True):
        if line.startswith("# "):
            program = line[2:].strip()
            found[program] = ""
        else:
            found[program] += line
    return found


def main() -> int:
    file = Path(sys.argv[1])
    tried = 0
    for program, given in parts(file.read_text()).items():
        command = program.split()
        if command[0] in ("ip", "ipvsadm") and not Path("/proc/net/ip_vs").exists():
            continue
        if command[0] == "iptables-restore":
            command = [f"ip6{command[0][2:]}" if "ipv6" in file.name else command[0], *command[1:], "--test"]
        subprocess.run(command, input=given, text=True, check=True)
        tried += 1
    return 0 if tried >= 2 else 1


if __name__ == "__main__":
    sys.exit(main())
