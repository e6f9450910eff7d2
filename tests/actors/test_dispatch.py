"""One actor class, three ways of running it, all of pykka's promises."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pykka
import pytest

from callengine.actors.dispatch import DispatchedActor, Dispatcher, tell
from callengine.actors.loop import Loop
from callengine.actors.stepper import Stepper
from callengine.actors.threads import BlockingActors, Threads
from tests.actors.recorder import PATIENCE_S, Chatter, Fail, Hold, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.actors.shell import Ref


@pytest.fixture(params=["loop", "threads", "stepper"])
def dispatcher(request: pytest.FixtureRequest) -> Iterator[Dispatcher]:
    if request.param == "stepper":
        yield Stepper(seed=7)
        return
    loop, threads = Loop(), Threads("test", 4)
    if request.param == "loop":
        yield loop
    else:
        yield BlockingActors(loop, threads, max_waiting=100_000)
    loop.stop(PATIENCE_S)
    threads.stop(PATIENCE_S)


@pytest.fixture
def ref(dispatcher: Dispatcher) -> Iterator[Any]:
    ref = Recorder.start(dispatcher)
    yield ref
    ref.stop(timeout=PATIENCE_S)


# ---- pykka's promises, on all three


def test_an_ask_is_answered(ref: Ref) -> None:
    assert ref.ask("hello", timeout=PATIENCE_S) == "hello"


def test_messages_of_one_sender_are_handled_in_order(ref: Ref) -> None:
    for n in range(300):
        ref.tell(n)
    assert ref.ask("seen", timeout=PATIENCE_S) == list(range(300))


def test_an_exception_is_answered_to_an_ask_and_the_actor_lives_on(ref: Ref) -> None:
    with pytest.raises(LookupError, match="no such thing"):
        ref.ask(Fail(LookupError("no such thing")), timeout=PATIENCE_S)
    assert ref.is_alive()
    assert ref.ask("hello", timeout=PATIENCE_S) == "hello"


def test_an_exception_under_tell_stops_the_actor_and_no_other(
    dispatcher: Dispatcher, ref: Ref
) -> None:
    doomed = Recorder.start(dispatcher)
    held = threading.Event()
    doomed.tell(Hold(held))
    doomed.tell(Fail(LookupError()))
    left = doomed.ask("never handled", block=False)
    held.set()
    with pytest.raises(pykka.ActorDeadError):
        left.get(timeout=PATIENCE_S)
    assert not doomed.is_alive()
    assert ref.ask("hello", timeout=PATIENCE_S) == "hello"
    assert pykka.ActorRegistry.get_all() == [ref]


def test_stop_lets_earlier_messages_be_handled_and_refuses_later_ones(
    dispatcher: Dispatcher,
) -> None:
    seen: list[Any] = []
    ref = Recorder.start(dispatcher, seen)
    held = threading.Event()
    ref.tell(Hold(held))
    ref.tell("before")
    stopped = ref.stop(block=False)
    after = ref.ask("after", block=False)
    stopped_again = ref.stop(block=False)
    ref.tell("after too")
    held.set()
    assert stopped.get(timeout=PATIENCE_S) is True
    assert stopped_again.get(timeout=PATIENCE_S) is True, "it was being stopped: pykka says True"
    with pytest.raises(pykka.ActorDeadError):
        after.get(timeout=PATIENCE_S)
    assert seen == ["before"]


def test_the_dead_are_out_of_the_registry_and_refuse_everything(dispatcher: Dispatcher) -> None:
    ref = Recorder.start(dispatcher)
    assert pykka.ActorRegistry.get_all() == [ref]
    assert ref.stop(timeout=PATIENCE_S) is True
    assert pykka.ActorRegistry.get_all() == []
    assert not ref.is_alive()
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("hello", timeout=PATIENCE_S)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("hello")
    assert ref.stop(timeout=PATIENCE_S) is False
    tell(ref, "our own tell minds nothing")


def test_no_message_is_lost_or_reordered_under_four_sending_threads(ref: Ref) -> None:
    start = threading.Barrier(4)

    def send(sender: int) -> None:
        start.wait(PATIENCE_S)
        for n in range(10_000):
            ref.tell((sender, n))

    threads = [threading.Thread(target=send, args=(sender,)) for sender in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen: Any = ref.ask("seen", timeout=PATIENCE_S)
    assert len(seen) == 40_000
    for sender in range(4):
        assert [n for who, n in seen if who == sender] == list(range(10_000))


def test_an_actor_is_never_run_by_two_threads_at_once(dispatcher: Dispatcher) -> None:
    inside = threading.Lock()
    trouble: list[str] = []

    class Alone(DispatchedActor):
        def on_receive(self, message: object) -> None:  # noqa: ARG002
            if not inside.acquire(blocking=False):
                trouble.append("two at once")
                return
            for _ in range(50):  # long enough for a thread switch to show
                pass
            inside.release()

    ref = Alone.start(dispatcher)
    for _ in range(5_000):
        ref.tell("go")
    assert ref.stop(timeout=PATIENCE_S)
    assert trouble == []


def test_the_mailbox_tells_what_is_waiting(dispatcher: Dispatcher, ref: Ref) -> None:
    held = Hold(threading.Event())
    ref.tell(held)
    if not isinstance(dispatcher, Stepper):
        assert held.begun.wait(PATIENCE_S)
    inbox: Any = ref.actor_inbox
    waiting = inbox.qsize()
    ref.tell("one")
    assert (inbox.qsize(), inbox.empty()) == (waiting + 1, False)
    held.until.set()
    ref.ask("seen", timeout=PATIENCE_S)
    assert inbox.empty()


def test_a_message_for_later_comes_when_its_time_has_come(dispatcher: Dispatcher, ref: Ref) -> None:
    now = dispatcher.now()
    arrived = Hold(threading.Event())
    arrived.until.set()
    dispatcher.tell_at(now, ref, arrived)
    if isinstance(dispatcher, Stepper):
        dispatcher.run(until=now)
    assert arrived.begun.wait(PATIENCE_S)


def test_a_message_for_later_to_the_dead_is_dropped(dispatcher: Dispatcher, ref: Ref) -> None:
    dead = Recorder.start(dispatcher)
    dead.stop(timeout=PATIENCE_S)
    now = dispatcher.now()
    arrived = Hold(threading.Event())
    arrived.until.set()
    dispatcher.tell_at(now - 1.0, dead, "too late")
    dispatcher.tell_at(now, ref, arrived)  # whoever delivers has survived the one before
    if isinstance(dispatcher, Stepper):
        dispatcher.run(until=now)
    assert arrived.begun.wait(PATIENCE_S)


# ---- Stepper


def chatter(seed: int) -> list[Any]:
    """What two listeners note of three talkers, in order."""
    stepper = Stepper(seed)
    log: list[Any] = []
    listeners = [Chatter.start(stepper, name, [], log) for name in ("x", "y")]
    talkers = [Chatter.start(stepper, name, listeners, log) for name in ("a", "b", "c")]
    for n in range(20):
        for talker in talkers:
            talker.tell(n)
    stepper.settle()
    for ref in (*listeners, *talkers):
        assert ref.stop()
    return log


def test_the_same_seed_gives_the_same_order() -> None:
    assert chatter(3) == chatter(3)


def test_another_seed_gives_another_order_but_keeps_that_of_each_pair() -> None:
    logs = [chatter(seed) for seed in range(6)]
    assert len({repr(log) for log in logs}) > 1
    for log in logs:
        assert len(log) == 120
        for listener in "xy":
            for talker in "abc":
                told = [n for who, (by, n) in log if (who, by) == (listener, talker)]
                assert told == list(range(20))


def test_the_clock_moves_only_when_nothing_is_waiting() -> None:
    stepper = Stepper()
    times: list[tuple[str, float]] = []

    class Watch(DispatchedActor):
        def on_receive(self, message: str) -> None:
            times.append((message, self.dispatcher.now()))

    ref = Watch.start(stepper)
    stepper.tell_at(2.0, ref, "second")
    stepper.tell_at(1.0, ref, "first")
    stepper.tell_at(1.0, ref, "after first")
    ref.tell("at once")
    stepper.run(until=1.5)
    assert times == [("at once", 0.0), ("first", 1.0), ("after first", 1.0)]
    assert stepper.now() == 1.5
    stepper.run(until=3.0)
    assert times[-1] == ("second", 2.0)
    assert stepper.now() == 3.0
    ref.stop()


def test_what_is_due_in_the_past_is_done_now_and_does_not_turn_the_clock_back() -> None:
    stepper = Stepper()
    stepper.run(until=5.0)
    done_at: list[float] = []
    stepper.call_at(1.0, lambda: done_at.append(stepper.now()))
    assert stepper.step()
    assert done_at == [5.0]


def test_a_stepper_with_nothing_to_do_says_so() -> None:
    stepper = Stepper()
    assert not stepper.step()
    assert stepper.now() == 0.0


def test_settling_leaves_the_clock_alone() -> None:
    stepper = Stepper()
    ref = Recorder.start(stepper)
    stepper.tell_at(1.0, ref, "later")
    ref.tell("now")
    stepper.settle()
    assert stepper.now() == 0.0
    assert ref.ask("seen") == ["now"]
    ref.stop()


def test_asking_drives_the_stepper_as_far_as_it_has_to() -> None:
    stepper = Stepper(seed=1)
    ref = Recorder.start(stepper)
    stepper.tell_at(1.0, ref, "later")
    ref.tell("now")
    assert ref.ask("seen") == ["now"]
    assert stepper.now() == 0.0, "the answer needed no time"
    ref.stop()


def test_an_ask_that_nobody_answers_times_out_instead_of_hanging() -> None:
    stepper = Stepper()

    class Narcissus(DispatchedActor):
        def on_receive(self, message: str) -> str:
            return message if message == "echo" else str(self.actor_ref.ask("echo"))

    ref = Narcissus.start(stepper)
    with pytest.raises(pykka.Timeout):
        ref.ask("speak to yourself")
    assert ref.ask("echo") == "echo"
    ref.stop()
