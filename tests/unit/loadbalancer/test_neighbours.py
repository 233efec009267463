"""ARP and NDP: questions are read, answers and announcements are what neighbours believe, and no bytes do any harm."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.kernel import arp, ndp

MAC = bytes.fromhex("020000000001")
ASKER = bytes.fromhex("0200000000aa")
REQUEST = (
    b"\xff" * 6
    + ASKER
    + bytes.fromhex("0806 0001 0800 06 04 0001")
    + ASKER
    + socket.inet_aton("10.2.2.1")
    + b"\0" * 6
    + socket.inet_aton("10.2.2.200")
)
SOLICITATION = ndp.solicitation("fd00::1", "fd00::200", ASKER)


def test_an_arp_request_is_read_and_answered_to_the_one_who_asks() -> None:
    question = arp.read_request(REQUEST)
    assert question == arp.Request(ASKER, "10.2.2.1", "10.2.2.200")
    answer = arp.reply(question, MAC)
    assert (answer[:6], answer[6:12], answer[12:14]) == (ASKER, MAC, b"\x08\x06")
    assert answer[20:22] == b"\x00\x02"
    assert (answer[22:28], answer[28:32]) == (MAC, socket.inet_aton("10.2.2.200"))
    assert (answer[32:38], answer[38:42]) == (ASKER, socket.inet_aton("10.2.2.1"))
    assert len(answer) == 60


@pytest.mark.parametrize("position", [*range(12, 22), 22])
def test_an_arp_frame_that_is_anything_else_is_none(position: int) -> None:
    changed = bytearray(REQUEST)
    changed[position] ^= 0x01
    assert arp.read_request(bytes(changed)) is None


def test_arp_announcements_go_to_everybody_as_request_and_as_reply() -> None:
    for operation, frame in zip((1, 2), arp.announcements("10.2.2.200", MAC), strict=True):
        assert (frame[:6], frame[20:22]) == (b"\xff" * 6, operation.to_bytes(2, "big"))
        assert frame[22:28] == MAC
        assert frame[28:32] == frame[38:42] == socket.inet_aton("10.2.2.200")


def test_a_solicitation_is_read_and_answered_to_the_one_who_asks() -> None:
    question = ndp.read_solicitation(SOLICITATION)
    assert question == ndp.Solicitation(ASKER, "fd00::1", "fd00::200")
    answer = ndp.advertisement(question, MAC)
    assert (answer[:6], answer[20], answer[21], answer[54]) == (ASKER, 58, 255, 136)
    assert answer[38:54] == socket.inet_pton(socket.AF_INET6, "fd00::1")
    assert answer[58] == 0x60, "solicited, override"
    assert answer[62:78] == socket.inet_pton(socket.AF_INET6, "fd00::200")
    assert answer[78:] == b"\x02\x01" + MAC


def test_who_only_looks_whether_an_address_is_free_is_told_through_everybody() -> None:
    question = ndp.read_solicitation(ndp.solicitation("::", "fd00::200", ASKER))
    assert question is not None
    answer = ndp.advertisement(question, MAC)
    assert answer[:6] == bytes.fromhex("333300000001")
    assert answer[58] == 0x20, "override alone"


@pytest.mark.parametrize("position", [13, 14, 20, 21, 23, 40, 54, 55, 56, 62, 70])
def test_a_solicitation_with_a_wrong_byte_is_none(position: int) -> None:
    """Its kind, hop limit and code are checked, and all else by the checksum."""
    changed = bytearray(SOLICITATION)
    changed[position] ^= 0x10
    assert ndp.read_solicitation(bytes(changed)) is None


@given(st.binary(max_size=120))
def test_any_bytes_are_taken_without_an_error(frame: bytes) -> None:
    arp.read_request(frame)
    ndp.read_solicitation(frame)


@given(st.integers(0, len(SOLICITATION) - 1), st.binary(max_size=80))
def test_any_end_of_a_frame_is_taken_without_an_error(kept: int, rest: bytes) -> None:
    arp.read_request(REQUEST[:kept] + rest)
    ndp.read_solicitation(SOLICITATION[:kept] + rest)


def test_the_group_of_an_address_is_made_of_its_last_bytes() -> None:
    group = socket.inet_ntop(socket.AF_INET6, ndp.solicited_node("fd00::12:3456"))
    assert group == "ff02::1:ff12:3456"
