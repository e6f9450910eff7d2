"""One thread for alarms, mailboxes and sockets. The sockets here are pairs, and wait for nobody."""

from __future__ import annotations

import gc
import queue
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pykka
import pytest
from loguru import logger

from callengine.actors import loop as loop_module
from callengine.actors.loop import BATCH_MESSAGES, READ, WRITE, Loop
from tests.actors.recorder import PATIENCE_S, Chatter, Fail, Hold, Recorder
from tests.on_loop import FrozenClock, freeze, on_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loguru import Message

    from callengine.actors.dispatch import Dispatcher

SECRET = "my card number is 4111"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FrozenClock:
    return freeze(monkeypatch)


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop(PATIENCE_S)


class Pair:
    """A socket that the loop watches, and its other end. What is read goes to `heard`."""

    def __init__(self, loop: Loop, heard: Callable[[bytes], object]) -> None:
        self.near, self.far = socket.socketpair()
        self._loop = loop
        self._heard = heard

    def watch(self) -> None:
        """For the loop's thread, like the rest."""
        self._loop.watch(self.near, READ, self._read)

    def close(self) -> None:
        self._loop.unwatch(self.near)
        self.near.close()
        self.far.close()

    def _read(self, events: int) -> None:
        assert events == READ
        self._heard(self.near.recv(100))


def hold(loop: Loop) -> Hold:
    """Keep the loop busy until the event is set."""
    held = Hold(threading.Event())

    def wait() -> None:
        held.begun.set()
        assert held.until.wait(PATIENCE_S)

    assert loop.call_soon(wait)
    assert held.begun.wait(PATIENCE_S)
    return held


# ---- alarms


def test_alarms_ring_in_the_order_of_time_and_of_asking(clock: FrozenClock, loop: Loop) -> None:
    ref = Recorder.start(loop)
    for when, message in [(3.0, "d"), (1.0, "b"), (2.0, "c1"), (2.0, "c2"), (0.5, "a")]:
        loop.tell_at(when, ref, message)
    assert ref.ask("seen", timeout=PATIENCE_S) == []
    clock.at = 2.5
    on_loop(loop, lambda: None)
    assert ref.ask("seen", timeout=PATIENCE_S) == ["a", "b", "c1", "c2"]
    clock.at = 3.0
    on_loop(loop, lambda: None)
    assert ref.ask("seen", timeout=PATIENCE_S) == ["a", "b", "c1", "c2", "d"]
    ref.stop()


def test_an_alarm_is_told_how_late_it_rang(clock: FrozenClock) -> None:
    told: list[tuple[float, float]] = []
    loop = Loop(lambda now, late_s: told.append((now, late_s)))
    ref = Recorder.start(loop)
    loop.tell_at(3.0, ref, "three")
    on_loop(loop, lambda: None)
    clock.at = 3.25
    on_loop(loop, lambda: None)
    assert told == [(3.25, 0.25)]
    ref.stop()
    loop.stop(PATIENCE_S)


def test_a_look_at_the_sockets_is_told_how_late_it_comes(clock: FrozenClock) -> None:
    told: list[tuple[float, float]] = []
    loop = Loop(on_look=lambda now, late_s: told.append((now, late_s)))
    on_loop(loop, lambda: None)

    def take_long() -> None:
        clock.at = 0.045

    on_loop(loop, take_long)
    on_loop(loop, lambda: None)
    loop.stop(PATIENCE_S)
    late = [each for each in told if each[1] > 0]
    assert late == [(0.045, pytest.approx(0.025))], "20 ms after the one before was its time"
    assert len(told) > len(late)


def test_a_sleeping_loop_wakes_for_an_alarm_by_itself(loop: Loop) -> None:
    rung: queue.SimpleQueue[float] = queue.SimpleQueue()

    class Bell:
        def ring(self) -> None:
            rung.put(loop.now())

    bell = Bell()
    when = loop.now() + 0.02
    loop.call_at(when, bell.ring)
    assert rung.get(timeout=PATIENCE_S) >= when


def test_what_is_due_goes_before_most_of_what_somebody_has_to_do(
    clock: FrozenClock, loop: Loop
) -> None:
    order: list[Any] = []

    class Bell:
        def ring(self) -> None:
            order.append("ding")

    class Slow(Recorder):
        def on_receive(self, message: Any) -> Any:  # noqa: ANN401
            clock.at = 1.0  # the first of its messages takes that long
            return super().on_receive(message)

    bell, busy = Bell(), Slow.start(loop, order)
    loop.call_at(1.0, bell.ring)
    held = hold(loop)
    for n in range(3 * BATCH_MESSAGES):
        busy.tell(n)
    held.until.set()
    busy.ask("seen", timeout=PATIENCE_S)
    assert order.index("ding") == BATCH_MESSAGES
    busy.stop()


def test_an_alarm_keeps_no_dead_actor_alive(loop: Loop) -> None:
    ref = Recorder.start(loop)
    inbox = weakref.ref(ref.actor_inbox)
    loop.tell_at(loop.now() + 3600.0, ref, "late")
    on_loop(loop, lambda: None)
    ref.stop()
    del ref
    gc.collect()
    assert inbox() is None


def test_an_alarm_keeps_no_object_alive_and_rings_for_nobody(
    clock: FrozenClock, loop: Loop
) -> None:
    rung: list[str] = []

    class Bell:
        def ring(self) -> None:
            rung.append("ding")

    bell = Bell()
    alive = weakref.ref(bell)
    loop.call_at(1.0, bell.ring)
    on_loop(loop, lambda: None)
    del bell
    gc.collect()
    assert alive() is None
    clock.at = 2.0
    on_loop(loop, lambda: None)
    assert rung == []


# ---- mailboxes


def test_what_actors_are_told_is_handled_in_the_order_in_which_it_came(loop: Loop) -> None:
    order: list[Any] = []
    refs = [Recorder.start(loop, order) for _ in range(3)]
    held = hold(loop)
    for n in range(3 * BATCH_MESSAGES):
        refs[n % len(refs)].tell(n)
    assert loop.waiting == 3 * BATCH_MESSAGES
    held.until.set()
    for ref in refs:
        assert ref.stop(timeout=PATIENCE_S)
    assert order == list(range(3 * BATCH_MESSAGES))
    assert loop.waiting == 0


def test_no_tell_of_another_thread_leaves_the_loop_asleep(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bell that is rung while it is being answered must not be missed: each ask is a chance."""
    monkeypatch.setattr(loop_module, "RASTER_S", 0.0)  # it never rests
    refs = [Recorder.start(loop) for _ in range(2)]

    def ask_often(ref: pykka.ActorRef[Recorder]) -> None:
        told: list[Any] = [ref.ask(n, timeout=PATIENCE_S) for n in range(500)]
        answers.put(told)

    answers: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    threads = [threading.Thread(target=ask_often, args=(ref,)) for ref in refs]
    for thread in threads:
        thread.start()
    for thread in threads:
        assert answers.get(timeout=4 * PATIENCE_S) == list(range(500))
        thread.join()
    for ref in refs:
        ref.stop()


def test_what_is_to_be_done_soon_is_done_in_order_on_the_loops_thread(loop: Loop) -> None:
    done: list[tuple[int, str]] = []

    def do(n: int) -> None:
        done.append((n, threading.current_thread().name))

    for n in range(10):
        assert loop.call_soon(lambda n=n: do(n))  # type: ignore[misc]
    on_loop(loop, lambda: None)
    assert done == [(n, "callengine-loop") for n in range(10)]


# ---- sockets


def test_a_socket_is_told_of_until_it_is_unwatched(loop: Loop) -> None:
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    pair = Pair(loop, heard.put)
    on_loop(loop, pair.watch)
    for data in (b"one", b"two"):
        pair.far.sendall(data)
        assert heard.get(timeout=PATIENCE_S) == data
    on_loop(loop, lambda: loop.unwatch(pair.near))
    pair.far.sendall(b"three")
    on_loop(loop, lambda: None)
    assert heard.empty()
    assert pair.near.recv(100) == b"three", "nobody has read it"
    on_loop(loop, pair.watch)
    on_loop(loop, pair.close)


def test_a_socket_may_be_watched_for_something_else(loop: Loop) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    near, far = socket.socketpair()
    with near, far:

        def writable(events: int) -> None:
            told.put(events)
            loop.rewatch(near, READ, readable)

        def readable(events: int) -> None:
            told.put(events)
            loop.unwatch(near)

        loop.call_soon(lambda: loop.watch(near, READ | WRITE, writable))
        assert told.get(timeout=PATIENCE_S) == WRITE
        far.sendall(b"x")
        assert told.get(timeout=PATIENCE_S) == READ
        on_loop(loop, lambda: None)


def ready_at_once(loop: Loop, pairs: list[Pair]) -> None:
    """Let the loop find all of them readable in one look."""
    held = hold(loop)
    for pair in pairs:
        loop.call_soon(pair.watch)
        pair.far.sendall(b"x")
    held.until.set()


def test_no_socket_is_read_while_a_message_waits(loop: Loop) -> None:
    order: list[Any] = []
    done = threading.Semaphore(0)
    last = Recorder.start(loop, order)
    relay = Chatter.start(loop, "relay", [last], [])

    def heard(name: str) -> None:
        order.append(name)
        for n in range(2 * BATCH_MESSAGES):
            relay.tell(n)
        done.release()

    pairs = [Pair(loop, lambda _, name=name: heard(name)) for name in ("socket", "socket")]  # type: ignore[misc]
    ready_at_once(loop, pairs)
    for _ in pairs:
        assert done.acquire(timeout=PATIENCE_S)
    last.ask("seen", timeout=PATIENCE_S)
    relayed = [("relay", n) for n in range(2 * BATCH_MESSAGES)]
    assert order == ["socket", *relayed, "socket", *relayed]
    for pair in pairs:
        on_loop(loop, pair.close)
    for ref in (relay, last):
        ref.stop()


def test_a_loop_that_has_not_read_all_does_not_rest_before_it_looks_again(
    clock: FrozenClock, monkeypatch: pytest.MonkeyPatch, loop: Loop
) -> None:
    rests: list[float] = []
    on_loop(loop, lambda: monkeypatch.setattr(loop_module.time, "sleep", rests.append))
    pair = Pair(loop, lambda _: (loop.look_again(), heard.put(len(rests))))
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()
    on_loop(loop, pair.watch)
    pair.far.sendall(b"x" * 300)  # read in three times
    rested = {heard.get(timeout=PATIENCE_S) for _ in range(3)}
    assert len(rested) == 1, "not in between"
    on_loop(loop, pair.close)
    assert rests
    assert all(each == pytest.approx(0.02) for each in rests)


def test_what_is_due_goes_before_the_next_socket(clock: FrozenClock, loop: Loop) -> None:
    order: list[str] = []
    done = threading.Semaphore(0)

    class Bell:
        def ring(self) -> None:
            order.append("ding")

    bell = Bell()

    def heard(_: bytes) -> None:
        clock.at = 1.0  # it takes that long
        order.append("socket")
        done.release()

    on_loop(loop, lambda: loop.call_at(1.0, bell.ring))
    pairs = [Pair(loop, heard) for _ in range(2)]
    ready_at_once(loop, pairs)
    for _ in pairs:
        assert done.acquire(timeout=PATIENCE_S)
    assert order == ["socket", "ding", "socket"]
    for pair in pairs:
        on_loop(loop, pair.close)


# ---- what goes wrong


@pytest.fixture
def logged() -> Iterator[list[Message]]:
    records: list[Message] = []
    sink = logger.add(records.append, level="DEBUG", catch=False)
    logger.enable("callengine")
    yield records
    logger.disable("callengine")
    logger.remove(sink)


def test_what_a_socket_an_alarm_or_a_job_raises_harms_nobody_and_is_logged(
    loop: Loop, logged: list[Message]
) -> None:
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def fail(*_: object) -> None:
        raise ValueError(SECRET)

    class Broken:
        def ring(self) -> None:
            fail()

    broken = Broken()
    doomed, other = Pair(loop, fail), Pair(loop, heard.put)
    ref = Recorder.start(loop)
    ready_at_once(loop, [doomed, other])
    assert heard.get(timeout=PATIENCE_S) == b"x"
    loop.call_at(0.0, broken.ring)
    loop.call_soon(fail)
    on_loop(loop, lambda: None)
    assert ref.ask("hello", timeout=PATIENCE_S) == "hello"
    doomed.far.sendall(b"y")
    other.far.sendall(b"y")
    assert heard.get(timeout=PATIENCE_S) == b"y"
    for pair in (doomed, other):
        on_loop(loop, pair.close)
    ref.stop()
    texts = [each.record["message"] for each in logged]
    assert texts == ["loop failed"] * 4
    assert all(each.record["extra"]["error"] == "ValueError" for each in logged)
    assert SECRET not in "".join(str(each.record["extra"]) + each for each in logged)


def test_an_actor_that_dies_harms_nobody(loop: Loop) -> None:
    doomed, other = Recorder.start(loop), Recorder.start(loop)
    doomed.tell(Fail(LookupError()))
    with pytest.raises(pykka.ActorDeadError):
        doomed.ask("hello", timeout=PATIENCE_S)
    assert other.ask("hello", timeout=PATIENCE_S) == "hello"
    other.stop()


def test_a_mailbox_that_fails_harms_nobody(
    loop: Loop, logged: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    doomed, other = Recorder.start(loop), Recorder.start(loop)
    actor: Any = doomed.actor_inbox.actor  # type: ignore[attr-defined]

    def fail() -> None:
        raise LookupError(SECRET)

    with monkeypatch.context() as patched:
        patched.setattr(actor, "run_pykkas_loop", fail)
        doomed.tell("anything")
        assert other.ask("hello", timeout=PATIENCE_S) == "hello"
    assert [each.record["message"] for each in logged] == ["loop failed"]
    other.stop()
    pykka.ActorRegistry.unregister(doomed)


# ---- the end


class Ending:
    """A loop that is being stopped on another thread."""

    def __init__(self, loop: Loop, timeout_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
        begun, call_at = threading.Event(), loop.call_at

        def noted(when: float, method: Callable[[], object]) -> None:
            call_at(when, method)
            begun.set()

        monkeypatch.setattr(loop, "call_at", noted)
        self._thread = threading.Thread(target=loop.stop, args=(timeout_s,))
        self._thread.start()
        assert begun.wait(PATIENCE_S)

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def test_an_idle_loop_ends_at_once_and_gives_everything_back() -> None:
    before = threading.active_count()
    loop = Loop()
    ref = Recorder.start(loop)
    rung: list[object] = []
    loop.tell_at(loop.now() + 3600.0, ref, "never")
    on_loop(loop, lambda: None)
    ref.stop()
    loop.stop(3600.0)
    assert threading.active_count() == before
    assert loop._bell.fileno() == loop._button.fileno() == -1
    assert rung == []
    loop.stop(3600.0)


def test_nothing_can_be_done_on_a_loop_that_has_ended() -> None:
    done: list[str] = []

    class Bell:
        def ring(self) -> None:
            done.append("ding")

    loop, bell = Loop(), Bell()
    loop.stop(PATIENCE_S)
    assert not loop.call_soon(lambda: done.append("soon"))
    loop.call_at(0.0, bell.ring)
    assert done == []


def test_stopping_first_lets_it_run_dry(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    order: list[Any] = []
    last = Recorder.start(loop, order)
    relay = Chatter.start(loop, "relay", [last], [])
    held = hold(loop)
    for n in range(1_000):
        relay.tell(n)
    loop.call_soon(lambda: loop.call_soon(lambda: order.append("soon")))
    ending = Ending(loop, PATIENCE_S, monkeypatch)
    held.until.set()
    ending.join()
    assert order == [*(("relay", n) for n in range(1_000)), "soon"]
    pykka.ActorRegistry._actor_refs.clear()  # an ended loop runs nobody, not even to be stopped


def test_stopping_waits_for_sockets_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop()
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def part(data: bytes) -> None:
        heard.put(data)
        if data == b"goodbye":
            pair.close()

    pair = Pair(loop, part)
    on_loop(loop, pair.watch)
    ending = Ending(loop, 3600.0, monkeypatch)
    pair.far.sendall(b"not yet")
    assert heard.get(timeout=PATIENCE_S) == b"not yet"
    pair.far.sendall(b"goodbye")
    ending.join()
    assert heard.get(timeout=PATIENCE_S) == b"goodbye"


def test_a_socket_that_does_not_go_is_closed() -> None:
    loop = Loop()
    pair = Pair(loop, lambda _: None)
    on_loop(loop, pair.watch)
    loop.stop(0.01)
    pair.far.settimeout(PATIENCE_S)
    assert pair.far.recv(1) == b""
    assert pair.near.fileno() == -1
    pair.far.close()


def test_actors_that_never_fall_silent_do_not_keep_a_loop_from_ending() -> None:
    loop = Loop()
    rounds = 0

    class Restless(Recorder):
        def __init__(self, dispatcher: Dispatcher) -> None:
            super().__init__(dispatcher)

        def on_receive(self, message: Any) -> Any:  # noqa: ANN401
            nonlocal rounds
            rounds += 1
            self.dispatcher.tell_at(self.dispatcher.now() + 0.001, self.actor_ref, message)

    ref = Restless.start(loop)
    ref.tell("again")
    loop.stop(0.02)
    assert rounds > 0
    pykka.ActorRegistry.unregister(ref)


def test_whoever_comes_while_it_ends_is_done_or_refused() -> None:
    """And never forgotten."""
    loop = Loop()
    taken = done = 0
    over = threading.Event()

    def do() -> None:
        nonlocal done
        done += 1

    def call_often() -> None:
        nonlocal taken
        while loop.call_soon(do):
            taken += 1
        over.set()

    thread = threading.Thread(target=call_often)
    thread.start()
    loop.stop(0.01)
    assert over.wait(PATIENCE_S)
    thread.join()
    assert done == taken > 0


def test_a_loop_that_gets_no_thread_leaves_no_socket_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs: list[tuple[socket.socket, socket.socket]] = []
    make = socket.socketpair

    def noted() -> tuple[socket.socket, socket.socket]:
        pairs.append(make())
        return pairs[-1]

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(socket, "socketpair", noted)
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError):
        Loop()
    assert [plug.fileno() for pair in pairs for plug in pair] == [-1, -1]
