"""Generic netlink: kernel subsystems found by name, whose messages start with a command number.

netlink.py has the wire format; ipvs.py is a subsystem.
"""

import struct
from collections.abc import Sequence

from sampan.kernel.netlink import (
    HEADER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    Request,
    Socket,
    attributes,
    failure,
    messages,
    text,
)

NETLINK_GENERIC = 16
_CONTROL = 16
_GET_FAMILY = 3
_FAMILY_ID, _FAMILY_NAME = 1, 2
_HEADER = struct.Struct("=BBH")
HEADER_BYTES = _HEADER.size
_RECEIVE = 1 << 18
_BATCH = 200
"""So many that their failures, should all fail, still find room in the socket's buffer."""


class GenericSocket(Socket):
    """A generic netlink socket for one family, in the network namespace that the calling thread is in.

    Raises FileNotFoundError if the kernel has no family of that name and cannot load one.
    """

    def __init__(self, family: str, version: int = 1) -> None:
        super().__init__(NETLINK_GENERIC)
        self._version = version
        try:
            self._family = self._resolve(family)
        except BaseException:
            self.close()
            raise

    def request(self, command: int, payload: bytes, about: str) -> Request:
        """A message to the family."""
        return Request(self._family, 0, _HEADER.pack(command, self._version, 0) + payload, about)

    def bulk(self, requests: Sequence[Request]) -> None:
        """Send requests that are obeyed in order, of which only failures and the last are answered.

        All are tried; raises the OSError of the first that failed.
        """
        first: OSError | None = None
        for start in range(0, len(requests), _BATCH):
            error = self._send(requests[start : start + _BATCH])
            first = first or error
        if first is not None:
            raise first

    def _send(self, requests: Sequence[Request]) -> OSError | None:
        begin, self._sequence = self._sequence + 1, self._sequence + len(requests)
        data = []
        for sequence, request in enumerate(requests, begin):
            flags = NLM_F_REQUEST | (NLM_F_ACK if sequence == self._sequence else 0)
            length = HEADER.size + len(request.payload)
            data.append(HEADER.pack(length, request.type, flags, sequence, 0) + request.payload + bytes(-length % 4))
        self._socket.send(b"".join(data))
        first: OSError | None = None
        while True:
            for message in messages(self._socket.recv(_RECEIVE)):
                if message.type == NLMSG_ERROR and message.sequence >= begin:
                    first = first or failure(message, requests[message.sequence - begin].about)
                    if message.sequence == self._sequence:
                        return first

    def _resolve(self, family: str) -> int:
        payload = _HEADER.pack(_GET_FAMILY, 1, 0) + text(_FAMILY_NAME, family)
        answer = self.ask(Request(_CONTROL, 0, payload, f"looking for {family}"))
        if answer is None:
            raise FileNotFoundError(f"the kernel has no {family}")
        return int(struct.unpack("=H", attributes(answer, HEADER_BYTES)[_FAMILY_ID])[0])
