"""`debug`: the log tells more. The server itself sees to it."""

from sampan.dns.plugins.base import Kind, nothing

KIND = Kind("debug", nothing)
