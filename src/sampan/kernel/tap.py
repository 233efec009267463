"""Tap devices: interfaces whose other end is a process (the kernel's Documentation/networking/tuntap.rst)."""

import fcntl
import os
import struct
from pathlib import Path

from sampan.kernel.descriptors import Descriptor

DEVICE = Path("/dev/net/tun")
TUNSETIFF, TUNSETPERSIST = 0x400454CA, 0x400454CB
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000


def create(name: str) -> None:
    """Make a persistent tap in the calling thread's network namespace; it has no carrier until a process attaches.

    Raises OSError, also if the kernel has no tap devices.
    """
    with Descriptor.open(DEVICE, os.O_RDWR) as device:
        fcntl.ioctl(device.fileno(), TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        fcntl.ioctl(device.fileno(), TUNSETPERSIST, 1)
