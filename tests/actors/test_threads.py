"""Threads that come when something blocks, and the actors that run on them."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest

from callengine.actors import threads as threads_module
from callengine.actors.dispatch import BoundedMailbox
from callengine.actors.stepper import Stepper
from callengine.actors.threads import BlockingActors, Threads
from tests.actors.recorder import PATIENCE_S, Hold, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX = 3


@pytest.fixture
def threads() -> Iterator[Threads]:
    before = threading.active_count()
    threads = Threads("ours", MAX)
    yield threads
    threads.stop(PATIENCE_S)
    assert threading.active_count() == before


class Job:
    """Runs until it is let go, and tells on which thread."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[threading.Thread] = queue.SimpleQueue()
        self.let_go = threading.Event()

    def __call__(self) -> None:
        self.begun.put(threading.current_thread())
        assert self.let_go.wait(PATIENCE_S)

    def thread(self) -> threading.Thread:
        return self.begun.get(timeout=PATIENCE_S)


def ours() -> int:
    return len([each for each in threading.enumerate() if each.name == "ours"])


def no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# ---- threads


def test_threads_come_when_nobody_is_free_and_no_more_than_the_bound(threads: Threads) -> None:
    assert ours() == 0
    jobs = [Job() for _ in range(MAX + 2)]
    for n, job in enumerate(jobs):
        threads.run(job)
        assert ours() == min(n + 1, MAX)
    used = {job.thread() for job in jobs[:MAX]}
    assert len(used) == MAX
    assert all(thread.daemon for thread in used)
    assert all(job.begun.empty() for job in jobs[MAX:])
    jobs[1].let_go.set()
    assert jobs[MAX].thread() in used
    for job in jobs:
        job.let_go.set()
    assert jobs[-1].thread() in used


def test_a_thread_takes_one_job_after_the_other() -> None:
    threads, used = Threads("ours", 1), set()
    job = Job()
    job.let_go.set()
    for _ in range(10):
        threads.run(job)
        used.add(job.thread())
    threads.stop(PATIENCE_S)
    assert len(used) == 1


def test_jobs_that_wait_are_done_in_order() -> None:
    threads, first, order = Threads("ours", 1), Job(), list[int]()
    threads.run(first)
    for n in range(100):
        threads.run(lambda n=n: order.append(n))  # type: ignore[misc]
    first.let_go.set()
    threads.stop(PATIENCE_S)
    assert order == list(range(100))


def test_a_thread_that_nobody_needed_for_a_while_is_gone_until_one_is_needed_again(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_module, "IDLE_S", 0.01)
    job = Job()
    job.let_go.set()
    used = []
    for _ in range(2):
        threads.run(job)
        used.append(job.thread())
        used[-1].join(PATIENCE_S)
        assert not used[-1].is_alive()
    assert used[0] is not used[1]


def test_a_job_is_never_left_to_a_thread_that_was_about_to_go(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_module, "IDLE_S", 0.0)
    job = Job()
    job.let_go.set()
    for _ in range(300):
        threads.run(job)
        job.thread()


def test_stopping_waits_for_what_waits_and_leaves_a_stuck_job_alone(threads: Threads) -> None:
    stuck, done = Job(), list[int]()
    threads.run(stuck)
    thread = stuck.thread()
    for n in range(100):
        threads.run(lambda n=n: done.append(n))  # type: ignore[misc]
    threads.stop(0.05)
    assert thread.is_alive()
    assert sorted(done) == list(range(100))
    stuck.let_go.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_what_comes_behind_the_stop_is_done_too(threads: Threads) -> None:
    threads.stop(PATIENCE_S)
    job = Job()
    job.let_go.set()
    threads.run(job)
    job.thread().join(PATIENCE_S)
    assert ours() == 0


def test_a_job_that_raises_ends_its_thread_and_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    traces: list[type[BaseException]] = []
    monkeypatch.setattr(threading, "excepthook", lambda given: traces.append(given.exc_type))
    threads, first, second = Threads("ours", 1), Job(), Job()

    def fail() -> None:
        first()
        raise LookupError

    threads.run(fail)
    thread = first.thread()
    threads.run(second)
    first.let_go.set()
    assert second.thread() is not thread
    second.let_go.set()
    threads.stop(PATIENCE_S)
    thread.join(PATIENCE_S)
    assert traces == [LookupError]


def test_what_gets_no_thread_waits_for_the_next_that_can_be_had(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        threads.run(lambda: order.append("first"))
        threads.run(lambda: order.append("second"))
    assert order == []
    job = Job()
    job.let_go.set()
    threads.run(job)
    job.thread()
    threads.stop(PATIENCE_S)
    assert order == ["first", "second"]


# ---- actors


@pytest.fixture
def blocking(threads: Threads) -> BlockingActors:
    return BlockingActors(Stepper(), threads)


def hold(ref: Any) -> Hold:  # noqa: ANN401 - pykka's reference
    held = Hold(threading.Event())
    ref.tell(held)
    assert held.begun.wait(PATIENCE_S)
    return held


def test_an_actor_that_blocks_harms_no_other(blocking: BlockingActors) -> None:
    blocked, free = Recorder.start(blocking), Recorder.start(blocking)
    held = hold(blocked)
    assert free.ask("hello", timeout=PATIENCE_S) == "hello"
    held.until.set()
    for ref in (blocked, free):
        ref.stop(timeout=PATIENCE_S)


def test_any_number_of_actors_needs_no_thread_while_nothing_is_told(
    blocking: BlockingActors,
) -> None:
    refs = [Recorder.start(blocking) for _ in range(50)]
    assert ours() == 0
    for ref in refs:
        assert ref.ask("hello", timeout=PATIENCE_S) == "hello"
    assert ours() <= MAX
    for ref in refs:
        ref.stop(timeout=PATIENCE_S)


def test_more_blocked_actors_than_threads_get_their_turn_one_after_the_other(
    blocking: BlockingActors,
) -> None:
    refs = [Recorder.start(blocking) for _ in range(MAX + 1)]
    held = [hold(ref) for ref in refs[:MAX]]
    asked = refs[MAX].ask("hello", block=False)
    held[0].until.set()
    assert asked.get(timeout=PATIENCE_S) == "hello"
    for each in held:
        each.until.set()
    for ref in refs:
        ref.stop(timeout=PATIENCE_S)


def test_an_actor_with_much_to_do_lets_others_have_their_turn() -> None:
    threads, order = Threads("ours", 1), list[Any]()
    blocking = BlockingActors(Stepper(), threads)
    busy, brief = Recorder.start(blocking, order), Recorder.start(blocking, order)
    held = hold(busy)
    for n in range(3):
        busy.tell(n)
    brief.tell("brief")
    held.until.set()
    for ref in (busy, brief):
        ref.stop(timeout=PATIENCE_S)
    threads.stop(PATIENCE_S)
    assert order == ["brief", 0, 1, 2]


def test_the_inbox_of_an_actor_that_blocks_is_bounded(threads: Threads) -> None:
    ref = Recorder.start(BlockingActors(Stepper(), threads, max_waiting=10))
    held = hold(ref)
    for number in range(60):
        ref.tell(str(number))
    inbox = ref.actor_inbox
    assert isinstance(inbox, BoundedMailbox)
    assert (inbox.qsize(), inbox.dropped) == (10, 50)
    stopped = ref.stop(block=False)
    held.until.set()
    assert stopped.get(timeout=PATIENCE_S), "who waits for an answer is let in"


def test_what_an_actor_that_blocks_is_told_for_later_comes_from_the_clock(
    threads: Threads,
) -> None:
    stepper = Stepper()
    blocking = BlockingActors(stepper, threads)
    ref = Recorder.start(blocking)
    blocking.tell_at(2.0, ref, "later")
    stepper.run(until=1.9)
    assert ref.ask("seen", timeout=PATIENCE_S) == []
    stepper.run(until=2.0)
    assert ref.ask("seen", timeout=PATIENCE_S) == ["later"]
    assert blocking.now() == 2.0
    ref.stop(timeout=PATIENCE_S)


def test_an_actor_that_is_stuck_at_the_stop_is_left_alone() -> None:
    threads = Threads("ours", 2)
    blocking = BlockingActors(Stepper(), threads)
    stuck, done = Recorder.start(blocking), list[Any]()
    other = Recorder.start(blocking, done)
    held = hold(stuck)
    for n in range(50):
        other.tell(n)
    threads.stop(0.05)
    assert done == list(range(50)), "what waits is done all the same"
    held.until.set()
    for ref in (stuck, other):
        ref.stop(timeout=PATIENCE_S)
