"""The writer's thread is real; tests wait for events, never for time to pass."""

from __future__ import annotations

import threading

import pytest
from loguru import logger

from callengine.edges.outbox import Outbox
from callengine.errors import EdgeClosed

pytestmark = pytest.mark.realtime

WAIT_S = 5.0
MAX_MEDIA = 4


class Wire:
    """A socket that takes messages only while `open`, and can fail."""

    def __init__(self, fails_on: str = "", error: BaseException | None = None) -> None:
        self.sent: list[str] = []
        self.ends: list[str] = []
        self.stalls = 0
        self.open = threading.Event()
        self.taken = threading.Semaphore(0)  # released when a message reached `send`
        self.passed = threading.Semaphore(0)  # released when it was sent
        self.ended = threading.Event()
        self._fails_on = fails_on
        self._error = error or EdgeClosed(1006)

    def send(self, message: str) -> None:
        self.taken.release()
        assert self.open.wait(WAIT_S)
        if message == self._fails_on:
            raise self._error
        self.sent.append(message)
        self.passed.release()

    def last(self) -> None:
        self.ends.append("last")
        self.ended.set()

    def stalled(self) -> None:
        self.stalls += 1


def outbox(wire: Wire) -> Outbox:
    return Outbox(wire.send, name="outbox", max_media=MAX_MEDIA, on_stall=wire.stalled, log=logger)


def finish(box: Outbox, wire: Wire) -> None:
    wire.open.set()
    box.close(wire.last)
    box.join(WAIT_S)
    assert wire.ended.is_set()
    assert not threads()


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "outbox"]


def block(box: Outbox, wire: Wire) -> None:
    """Let the writer hang in a send, so that everything after it waits."""
    box.send("first")
    assert wire.taken.acquire(timeout=WAIT_S)


def test_messages_leave_in_the_order_they_came() -> None:
    wire = Wire()
    box = outbox(wire)
    block(box, wire)
    box.send_media("a")
    box.send("mark a")
    box.send_media("b")
    box.send("mark b")
    finish(box, wire)
    assert wire.sent == ["first", "a", "mark a", "b", "mark b"]


@pytest.mark.edge_case(27)
def test_nobody_waits_for_a_socket_that_takes_nothing() -> None:
    wire = Wire()
    box = outbox(wire)
    block(box, wire)
    for n in range(MAX_MEDIA):
        box.send_media(str(n))  # would never return if it waited: the wire opens only below
    assert wire.sent == []
    finish(box, wire)
    assert wire.sent == ["first", "0", "1", "2", "3"]
    assert wire.stalls == 0


@pytest.mark.edge_case(80)
def test_send_first_overtakes_and_counts_the_audio_it_dropped() -> None:
    wire = Wire()
    box = outbox(wire)
    block(box, wire)
    box.send_media("a")
    box.send("mark a")
    box.send_media("b")
    assert box.send_first("clear") == (2, 1)
    box.send_media("after")
    finish(box, wire)
    assert wire.sent == ["first", "clear", "after"]


@pytest.mark.edge_case(80)
def test_a_message_being_sent_is_not_counted_as_dropped() -> None:
    wire = Wire()
    box = outbox(wire)
    box.send_media("on its way")
    assert wire.taken.acquire(timeout=WAIT_S)
    assert box.send_first("clear") == (0, 0)
    finish(box, wire)
    assert wire.sent == ["on its way", "clear"]


def test_what_was_sent_or_dropped_makes_room_for_more() -> None:
    wire = Wire()
    box = outbox(wire)
    block(box, wire)
    for n in range(MAX_MEDIA):
        box.send_media(f"dropped {n}")
    assert box.send_first("clear") == (MAX_MEDIA, 0)
    for n in range(MAX_MEDIA):
        box.send_media(str(n))
    wire.open.set()
    for _ in range(MAX_MEDIA + 2):
        assert wire.passed.acquire(timeout=WAIT_S)
    for n in range(MAX_MEDIA):
        box.send_media(f"more {n}")
    finish(box, wire)
    assert wire.stalls == 0
    assert wire.sent[-1] == "more 3"


@pytest.mark.edge_case(27)
def test_too_much_unread_audio_gives_the_socket_up_once() -> None:
    wire = Wire()
    box = outbox(wire)
    block(box, wire)
    for n in range(MAX_MEDIA + 5):
        box.send_media(str(n))
    assert wire.stalls == 1
    finish(box, wire)
    assert wire.sent == ["first"]
    assert wire.ends == ["last"]


def test_close_sends_what_waits_and_then_does_the_last_thing() -> None:
    wire = Wire()
    box = outbox(wire)
    block(box, wire)
    box.send_media("goodbye")
    box.close(wire.last)
    box.send("too late")
    box.send_media("too late as well")
    assert wire.ends == []
    finish(box, wire)
    assert wire.sent == ["first", "goodbye"]


def test_only_the_first_close_counts() -> None:
    wire = Wire()
    box = outbox(wire)
    wire.open.set()
    box.close(wire.last)
    box.close(lambda: wire.ends.append("second"))
    box.join(WAIT_S)
    box.close(lambda: wire.ends.append("third"))
    assert wire.ends == ["last"]
    assert not threads()


@pytest.mark.edge_case(84)
@pytest.mark.parametrize(
    ("error", "stalls"),
    [
        (EdgeClosed(1006), 0),  # as the reader notices
        (RuntimeError("of a host's edge"), 1),  # as nobody else notices
        (SystemExit(), 1),
        (KeyboardInterrupt(), 1),
        (MemoryError(), 1),
    ],
    ids=lambda given: type(given).__name__,
)
def test_a_socket_that_fails_takes_nothing_more_and_is_still_closed(
    error: BaseException, stalls: int
) -> None:
    wire = Wire(fails_on="bad", error=error)
    box = outbox(wire)
    block(box, wire)
    box.send("bad")
    box.send("never")
    finish(box, wire)
    assert wire.sent == ["first"]
    assert wire.ends == ["last"]
    assert wire.stalls == stalls


@pytest.mark.parametrize(
    "error", [EdgeClosed(1000), RuntimeError("of a host's edge"), SystemExit(), KeyboardInterrupt()]
)
def test_a_last_thing_that_fails_harms_nobody(error: BaseException) -> None:
    wire = Wire()
    box = outbox(wire)

    def last() -> None:
        wire.last()
        raise error

    box.close(last)
    box.join(WAIT_S)
    assert wire.ends == ["last"]
    assert not threads()


def test_a_log_that_cannot_be_written_keeps_no_socket_open() -> None:
    def fail(_: object) -> None:
        raise SystemExit

    wire = Wire(fails_on="bad", error=RuntimeError())
    box = outbox(wire)
    logger.enable("callengine")
    sink = logger.add(fail, catch=False)
    block(box, wire)
    box.send("bad")
    finish(box, wire)
    logger.disable("callengine")
    logger.remove(sink)
    assert wire.stalls == 1


def test_a_stalled_socket_is_closed_when_the_send_returns() -> None:
    wire = Wire()
    box = outbox(wire)
    block(box, wire)
    for n in range(MAX_MEDIA + 1):
        box.send_media(str(n))
    box.close(wire.last)
    assert wire.ends == []
    finish(box, wire)


def test_a_close_does_not_wait_for_ever_for_a_send_that_never_returns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callengine.edges.outbox.CLOSE_TIMEOUT_S", 0.05)
    wire = Wire()
    box = outbox(wire)
    box.send("stuck")
    box.close(wire.last)
    assert wire.ended.wait(WAIT_S)
    wire.open.set()
    box.join(WAIT_S)
    assert wire.ends == ["last"]
