from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.security import floods
from callengine.security.floods import (
    MAX_ADDRESSES,
    MAX_BURST_MESSAGES,
    MAX_MESSAGES_PER_S,
    MessageRate,
    SocketCount,
)

# ---- messages


def test_a_call_of_hours_is_never_too_fast() -> None:
    rate = MessageRate(0.0)
    assert all(rate.allows(n * 0.02) for n in range(50 * 3600))


@pytest.mark.parametrize("stall_s", [1, 15, 39])
def test_what_a_stalled_network_delivers_at_once_is_fine(stall_s: int) -> None:
    rate = MessageRate(0.0)
    assert all(rate.allows(60.0 + stall_s) for _ in range(50 * stall_s))


def test_a_burst_has_a_bound_and_what_was_saved_comes_back_with_time() -> None:
    rate = MessageRate(5.0)
    assert sum(rate.allows(5.0) for _ in range(3 * MAX_BURST_MESSAGES)) == MAX_BURST_MESSAGES
    assert sum(rate.allows(6.0) for _ in range(3 * MAX_BURST_MESSAGES)) == MAX_MESSAGES_PER_S
    assert sum(rate.allows(99.0) for _ in range(3 * MAX_BURST_MESSAGES)) == MAX_BURST_MESSAGES


def test_a_clock_that_stands_still_or_goes_back_brings_nothing() -> None:
    rate = MessageRate(5.0)
    taken = sum(rate.allows(5.0 - n % 2) for n in range(2 * MAX_BURST_MESSAGES))
    assert taken == MAX_BURST_MESSAGES


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 3_000)), max_size=20))
def test_no_pattern_gets_more_through_than_the_burst_and_the_rate(
    told: list[tuple[float, int]],
) -> None:
    now, allowed = 0.0, 0
    rate = MessageRate(now)
    for wait_s, messages in told:
        now += wait_s
        allowed += sum(rate.allows(now) for _ in range(messages))
        assert allowed <= MAX_BURST_MESSAGES + now * MAX_MESSAGES_PER_S + 1e-6


# ---- sockets


def test_an_address_has_so_many_sockets_and_no_more() -> None:
    count = SocketCount(2)
    assert [count.enter("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert count.enter("192.0.2.2"), "another address is not to blame"
    count.leave("192.0.2.1")
    assert [count.enter("192.0.2.1") for _ in range(2)] == [True, False]


def test_nothing_is_kept_of_an_address_without_sockets() -> None:
    count = SocketCount(1)
    for n in range(1_000):
        assert count.enter(str(n))
        assert not count.enter(str(n))
        count.leave(str(n))
    count.leave("never seen")
    assert len(count) == 0
    assert count.enter("never seen")
    assert not count.enter("never seen")


def test_addresses_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_ADDRESSES == 10_000
    monkeypatch.setattr(floods, "MAX_ADDRESSES", 3)
    count = SocketCount(2)
    assert [count.enter(f"192.0.2.{n}") for n in range(4)] == [True, True, True, False]
    assert count.enter("192.0.2.0"), "one that is known may have a second"
    count.leave("192.0.2.1")
    assert count.enter("192.0.2.9")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::1", "::2", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("", "", True),
        ("", "unix:", False),
    ],
)
def test_one_peer_has_one_name_whatever_it_is_called(one: str, other: str, same: bool) -> None:
    count = SocketCount(1)
    assert count.enter(one)
    assert count.enter(other) is not same


@pytest.mark.realtime
def test_two_threads_get_no_more_in_than_one() -> None:
    """Who has looked how many there are waits for the other to have looked, who must not come."""
    meeting = threading.Barrier(2)

    class Slow(Counter[str]):
        def __getitem__(self, address: str) -> int:
            sockets = super().__getitem__(address)
            with suppress(threading.BrokenBarrierError):
                meeting.wait(0.3)
            return sockets

    count = SocketCount(1)
    count._open = Slow()
    with ThreadPoolExecutor(2) as pool:
        knocks = [pool.submit(count.enter, "192.0.2.1") for _ in range(2)]
        assert sorted(knock.result() for knock in knocks) == [False, True]
