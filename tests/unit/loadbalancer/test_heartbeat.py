"""Heartbeats are believed only from those who know the secret, and only once; silence is death, but not at once."""

from hypothesis import given
from hypothesis import strategies as st

from sampan.loadbalancer.heartbeat import DEAD_AFTER, INTERVAL, Heartbeat, Peers, Sequence, decode, encode

KEY = b"k" * 32
MAC = bytes.fromhex("020000000001")
BEAT = Heartbeat("node-1", 7, True)


@given(st.text(min_size=1, max_size=60), st.integers(0, 2**64 - 1), st.booleans())
def test_what_is_sent_is_heard(node: str, sequence: int, is_healthy: bool) -> None:
    beat = Heartbeat(node, sequence, is_healthy)
    assert decode(encode(beat, KEY, MAC), KEY) == beat


def test_a_frame_signed_with_another_key_says_nothing() -> None:
    assert decode(encode(BEAT, b"x" * 32, MAC), KEY) is None


def test_no_byte_of_what_is_said_can_be_changed() -> None:
    frame = encode(BEAT, KEY, MAC)
    signed_end = 14 + 14 + len("node-1") + 16
    for position in range(12, signed_end):
        changed = bytearray(frame)
        changed[position] ^= 1
        assert decode(bytes(changed), KEY) is None, position


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_without_an_error(frame: bytes) -> None:
    assert decode(frame, KEY) is None
    assert decode(encode(BEAT, KEY, MAC)[: len(frame)], KEY) in (None, BEAT)


def test_everybody_lives_until_they_could_have_been_heard() -> None:
    peers = Peers(100.0)
    assert peers.alive({"a"}, 100.0 + DEAD_AFTER) == {"a"}
    assert peers.alive({"a"}, 100.1 + DEAD_AFTER) == frozenset()


def test_who_is_heard_lives_and_dies_when_silent() -> None:
    peers = Peers(0.0)
    assert peers.hear(Heartbeat("a", 1, True), 10.0)
    assert peers.alive({"a", "b"}, 10.0 + INTERVAL) == {"a"}
    assert peers.alive({"a"}, 10.1 + DEAD_AFTER) == frozenset()
    assert peers.hear(Heartbeat("a", 2, True), 20.0), "its return is news"
    assert not peers.hear(Heartbeat("a", 3, True), 20.0 + INTERVAL), "that it goes on is none"


def test_a_node_that_says_it_is_unable_is_out_at_once() -> None:
    peers = Peers(0.0)
    peers.hear(Heartbeat("a", 1, True), 1.0)
    assert peers.hear(Heartbeat("a", 2, False), 1.1)
    assert peers.alive({"a"}, 1.1) == frozenset()


def test_a_recorded_frame_does_not_keep_a_node_alive() -> None:
    peers = Peers(0.0)
    peers.hear(Heartbeat("a", 5, True), 1.0)
    for again in (5, 4):
        assert not peers.hear(Heartbeat("a", again, True), 1.0 + DEAD_AFTER)
    assert peers.alive({"a"}, 1.1 + DEAD_AFTER) == frozenset()


def test_a_pause_of_the_listener_is_not_held_against_the_others() -> None:
    peers = Peers(0.0)
    peers.hear(Heartbeat("a", 1, True), 10.0)
    peers.extend(60.0)
    assert peers.alive({"a"}, 70.0) == {"a"}


def test_sequences_rise_also_over_a_restart() -> None:
    first = Sequence()
    numbers = [first.next() for _ in range(3)]
    assert numbers == sorted(set(numbers))
    assert Sequence().next() > numbers[-1]
