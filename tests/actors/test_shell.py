"""The shell around a machine: routes, the one timer, and death without harm to others."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pykka
import pytest

from callengine.actors import shell as shell_module
from callengine.actors.loop import Loop
from callengine.actors.shell import Barrier, Peers, Report, Shell, wait_until_handled
from callengine.actors.threads import BlockingActors, Threads
from callengine.messages import (
    ActorCrashed,
    BeginAnew,
    DeadlineReached,
    Owner,
    ReportRequest,
    ResetReason,
    ResetRequest,
    StateChanged,
    StatesWanted,
)
from tests.actors.rig import CALL_SID, Neighbour

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loguru import Logger

    from callengine.actors.dispatch import Dispatcher
    from callengine.actors.shell import Ref
    from tests.actors.rig import Rig

SECRET = "my card number is 4111"


class GreenletExit(BaseException):
    """What gevent throws into a greenlet that is to end."""


@dataclass(frozen=True)
class Do:
    """Makes the machine return these actions, or raise this error."""

    actions: tuple[object, ...] = ()
    error: BaseException | None = None


@dataclass(frozen=True)
class WakeAt:
    """Sets the machine's deadline."""

    at: float | None


@dataclass(frozen=True)
class ToTwo:
    """An action that two peers are told."""


@dataclass(frozen=True)
class ToNobody:
    """An action that is routed, to nobody."""


@dataclass(frozen=True)
class Bequeathed:
    """An action that is taken when a message has killed the actor."""

    message: object


@dataclass(frozen=True)
class Cannot:
    """Makes a part of the shell fail from now on."""

    what: str
    error: BaseException


@dataclass(frozen=True)
class Own:
    """An action of the shell's own."""

    number: int


class Sample(Shell):
    """A shell with a machine that does as it is told."""

    ROUTES: ClassVar = {
        ToTwo: ("pacer", "bridge"),
        ToNobody: (),
        StateChanged: ("watchdog",),
        Bequeathed: ("bridge",),
    }

    def __init__(self, dispatcher: Dispatcher, log: Logger) -> None:
        super().__init__(dispatcher, log)
        self.cannot: dict[str, BaseException] = {}
        self.renew()

    def renew(self) -> None:
        self.fail("renew")
        self.deadline: float | None = None
        self.done: list[Any] = []

    def fail(self, what: str) -> None:
        if what in self.cannot:
            raise self.cannot[what]

    def bequeath(self, message: Any) -> Iterable[object]:  # noqa: ANN401
        self.fail("bequeath")
        return [Bequeathed(message)]

    def handle(self, message: Any, now: float) -> Iterable[object]:  # noqa: ANN401
        match message:
            case Do(actions, error):
                if error is not None:
                    raise error
                return actions
            case Cannot(what, error):
                self.cannot[what] = error
            case WakeAt(at):
                self.deadline = at
            case DeadlineReached():
                self.done.append(("woken", now))
                if self.deadline is not None and now >= self.deadline:
                    self.deadline = None
            case _:
                self.done.append((message, now))
        return []

    def next_deadline(self) -> float | None:
        self.fail("next_deadline")
        return self.deadline

    def perform(self, action: object) -> None:
        match action:
            case Own(number):
                self.done.append(number)
            case _:
                super().perform(action)

    def report(self) -> object:
        self.fail("report")
        return tuple(self.done)


@pytest.fixture
def sample(rig: Rig) -> Ref:
    return rig.place("ingress", Sample.start(rig.stepper, rig.log))


def done(rig: Rig) -> list[Any]:
    rig.tell(ReportRequest())
    (report,) = rig.told("supervisor")
    return list(report.counts)


# ---- messages and actions


@pytest.mark.usefixtures("sample")
def test_messages_reach_the_machine_with_the_time(rig: Rig) -> None:
    rig.run(until=1.5)
    rig.tell("hello")
    assert done(rig) == [("hello", 1.5)]


@pytest.mark.usefixtures("sample")
def test_an_action_is_told_to_those_it_is_routed_to_and_nobody_else(rig: Rig) -> None:
    rig.tell(Do((ToTwo(), ToNobody())))
    assert rig.told_to_all() == {"pacer": [ToTwo()], "bridge": [ToTwo()]}


@pytest.mark.usefixtures("sample")
def test_actions_are_done_in_order_own_ones_and_routed_ones(rig: Rig) -> None:
    rig.tell(Do((Own(1), ToTwo(), Own(2))), Do((Own(3),)))
    assert done(rig) == [1, 2, 3]
    assert rig.told("pacer") == [ToTwo()]


@pytest.mark.usefixtures("sample")
def test_an_action_that_nobody_can_perform_is_a_crash_not_a_silence(rig: Rig) -> None:
    rig.tell(Do(("what is this",)))
    assert rig.told("supervisor") == [ActorCrashed("Sample", "NotImplementedError", ())]


@pytest.mark.usefixtures("sample")
def test_a_barrier_is_answered_and_reaches_no_machine(rig: Rig) -> None:
    assert rig.actor.ask(Barrier()) is None
    assert done(rig) == []


@pytest.mark.usefixtures("sample")
def test_telling_the_dead_is_silent(rig: Rig) -> None:
    rig.kill("pacer")
    rig.tell(Do((ToTwo(),)))
    assert rig.told("bridge") == [ToTwo()]
    assert rig.told("supervisor") == []


@pytest.mark.usefixtures("sample")
def test_a_report_names_the_actor_and_its_counts(rig: Rig) -> None:
    rig.tell(Do((Own(7),)), ReportRequest())
    assert rig.told("supervisor") == [Report("Sample", (7,))]


# ---- the timer


@pytest.mark.usefixtures("sample")
def test_the_machine_is_woken_when_it_wants_to_be(rig: Rig) -> None:
    rig.tell(WakeAt(2.0))
    rig.run(until=1.99)
    assert done(rig) == []
    rig.run(until=2.0)
    assert done(rig) == [("woken", 2.0)]
    rig.run(until=10.0)
    assert done(rig) == [("woken", 2.0)]


@pytest.mark.usefixtures("sample")
def test_an_earlier_deadline_is_armed_at_once(rig: Rig) -> None:
    rig.tell(WakeAt(5.0), WakeAt(2.0))
    rig.run(until=4.0)
    assert done(rig) == [("woken", 2.0)]


@pytest.mark.usefixtures("sample")
def test_a_stale_alarm_only_arms_the_deadline_that_moved(rig: Rig) -> None:
    rig.tell(WakeAt(2.0), WakeAt(5.0))
    rig.run(until=4.9)
    assert done(rig) == [("woken", 2.0)], "the stale one: nothing was due"
    rig.run(until=10.0)
    assert done(rig) == [("woken", 2.0), ("woken", 5.0)]


@pytest.mark.usefixtures("sample")
def test_a_deadline_that_was_given_up_wakes_once_and_no_more(rig: Rig) -> None:
    rig.tell(WakeAt(2.0), WakeAt(None))
    rig.run(until=10.0)
    assert done(rig) == [("woken", 2.0)]


@pytest.mark.usefixtures("sample")
def test_a_deadline_that_moves_ever_later_costs_one_alarm_not_one_per_message(rig: Rig) -> None:
    for n in range(1_000):
        rig.tell(WakeAt(2.0 + n / 1_000))
    assert len(rig.stepper._due) == 1


@pytest.mark.usefixtures("sample")
def test_whoever_is_asked_about_a_state_looks_at_the_clock(rig: Rig) -> None:
    """The alarm for what is overdue may have been lost: one is set again."""
    rig.tell(WakeAt(2.0))
    rig.stepper._due.clear()
    rig.run(until=5.0)
    asked = ResetRequest(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED, 1)
    rig.tell("anything else")
    rig.run(until=6.0)
    assert done(rig) == [("anything else", 5.0)]
    rig.tell(asked)
    rig.run(until=6.0)
    assert done(rig) == [("anything else", 5.0), (asked, 6.0), ("woken", 6.0)]


@pytest.mark.usefixtures("sample")
def test_a_deadline_in_the_past_is_due_at_once(rig: Rig) -> None:
    rig.run(until=3.0)
    rig.tell(WakeAt(1.0))
    rig.run(until=3.0)
    assert done(rig) == [("woken", 3.0)]


# ---- death


ENDS = [SystemExit(1), KeyboardInterrupt(), MemoryError(), GreenletExit(), ValueError(SECRET)]


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_whatever_kills_an_actor_is_told_to_the_supervisor_and_spares_the_others(
    rig: Rig, sample: Ref, error: BaseException
) -> None:
    bystander = Sample.start(rig.stepper, rig.log)
    sample.tell(Do((Own(1),)))
    sample.tell(Do(error=error))
    sample.tell(Do((ToTwo(),)))
    rig.stepper.settle()
    assert rig.told("pacer") == [], "a broken machine takes no more"
    assert rig.told("supervisor") == [ActorCrashed("Sample", type(error).__name__, (1,))]
    assert bystander.ask(Barrier()) is None
    assert len(pykka.ActorRegistry.get_all()) == 8, "nobody is stopped"
    bystander.stop()


@pytest.mark.usefixtures("sample")
def test_the_obituary_carries_the_call_and_not_what_was_said(rig: Rig) -> None:
    rig.tell(Do(error=ValueError(SECRET)))
    ((level, text, values),) = rig.logged()
    assert (level, text) == ("ERROR", "actor crashed")
    stack = values.pop("stack")
    assert values == {"call_sid": CALL_SID, "actor": "Sample", "error": "ValueError"}
    assert "raise error" in stack
    # A record is written with the variables around its exception, unless the host asks otherwise.
    assert SECRET not in str(rig.records[0]) + text + stack


@pytest.mark.parametrize("failure", ENDS, ids=lambda error: type(error).__name__)
def test_an_obituary_that_cannot_be_written_keeps_nobody_in_the_dark_and_harms_nobody(
    rig: Rig, sample: Ref, failure: BaseException
) -> None:
    def fail(_: object) -> None:
        raise failure

    sink = rig.log.add(fail, catch=False)
    rig.tell(Do(error=ValueError()))
    rig.log.remove(sink)
    assert rig.told("supervisor") == [ActorCrashed("Sample", "ValueError", ())]
    rig.tell(BeginAnew((Do((ToTwo(),)),)))
    assert rig.told("pacer") == [ToTwo()]
    assert len(pykka.ActorRegistry.get_all()) == 7, "nobody is stopped"


@pytest.mark.parametrize("failure", ENDS, ids=lambda error: type(error).__name__)
def test_an_obituary_that_cannot_even_be_composed_harms_nobody(
    rig: Rig, sample: Ref, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(_: object) -> None:
        raise failure

    monkeypatch.setattr(shell_module, "trace_of", fail)
    rig.tell(Do(error=ValueError()))
    assert rig.told("supervisor") == [ActorCrashed("Sample", "ValueError", ())]
    assert len(pykka.ActorRegistry.get_all()) == 7, "nobody is stopped"


@pytest.mark.usefixtures("sample")
def test_what_an_actor_did_before_it_died_is_done(rig: Rig) -> None:
    rig.tell(Do((ToTwo(), "what is this", ToTwo())))
    assert rig.told("pacer") == [ToTwo()]


def test_a_shell_that_dies_before_it_has_met_its_peers_just_dies(rig: Rig) -> None:
    lonely = Sample.start(rig.stepper, rig.log)
    lonely.tell(Do(error=ValueError()))
    rig.stepper.settle()
    assert not lonely.is_alive()
    assert [text for _, text, _ in rig.logged()] == ["actor crashed"]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.stop(5.0)


@pytest.fixture
def blocking(loop: Loop) -> Iterator[BlockingActors]:
    threads = Threads("test", 4)
    yield BlockingActors(loop, threads)
    threads.stop(5.0)


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["loop", "blocking"])
def test_on_real_threads_too_one_death_harms_nobody(
    rig: Rig, request: pytest.FixtureRequest, kind: str, error: BaseException
) -> None:
    dispatcher: Dispatcher = request.getfixturevalue(kind)
    told: queue.Queue[Any] = queue.Queue()

    class Noted(list[Any]):
        def append(self, entry: Any) -> None:  # noqa: ANN401
            told.put(entry[1])

    neighbour = Neighbour.start(dispatcher, Noted())
    doomed, bystander = (Sample.start(dispatcher, rig.log) for _ in range(2))
    doomed.tell(Peers(*[neighbour] * 7))
    doomed.tell(Do(error=error))
    doomed.tell(Do((ToTwo(),)))
    assert told.get(timeout=5.0) == Bequeathed(Do(error=error))
    assert told.get(timeout=5.0) == ActorCrashed("Sample", type(error).__name__, ())
    doomed.tell(BeginAnew())
    assert told.get(timeout=5.0) == ToTwo()
    assert bystander.ask(Barrier(), timeout=5.0) is None
    bystander.stop(timeout=5.0)
    neighbour.stop(timeout=5.0)
    doomed.stop(timeout=5.0)


# ---- life after death


@pytest.fixture
def dead(rig: Rig, sample: Ref) -> Ref:
    rig.tell(WakeAt(2.0), Do((Own(1),)), Do(error=ValueError()))
    rig.told_to_all()
    return sample


@pytest.mark.usefixtures("dead")
def test_what_waited_is_taken_in_order_behind_what_it_is_told_first(rig: Rig) -> None:
    for n in (3, 4):
        rig.tell(Do((Own(n),)))
    rig.tell(BeginAnew((Do((Own(1),)), Do((Own(2),)))), Do((Own(5),)))
    assert done(rig) == [1, 2, 3, 4, 5], "and nothing of the life before"


@pytest.mark.usefixtures("dead")
def test_an_actor_that_began_anew_is_woken_for_its_new_deadline_only(rig: Rig) -> None:
    rig.tell(BeginAnew((WakeAt(3.0),)))
    rig.run(until=10.0)
    assert [entry for entry in done(rig) if entry[1] != 2.0] == [("woken", 3.0)]


@pytest.mark.usefixtures("sample")
def test_the_living_are_not_made_to_begin_anew(rig: Rig) -> None:
    rig.tell(Do((Own(1),)), BeginAnew((Do((Own(2),)),)))
    assert done(rig) == [1]


@pytest.mark.usefixtures("dead")
def test_who_dies_again_of_what_waited_keeps_the_rest_in_order(rig: Rig) -> None:
    rig.tell(Do((Own(1),)), Do(error=MemoryError()), Do((Own(2),)), Do((Own(3),)))
    rig.tell(BeginAnew())
    assert rig.told("supervisor") == [ActorCrashed("Sample", "MemoryError", (1,))]
    rig.tell(Do((Own(4),)), BeginAnew())
    assert done(rig) == [2, 3, 4]


@pytest.mark.parametrize("what", ["renew", "next_deadline"])
def test_who_cannot_begin_anew_says_so_and_may_try_again(rig: Rig, dead: Ref, what: str) -> None:
    actor = dead.actor_inbox.actor  # type: ignore[attr-defined]
    actor.cannot[what] = SystemExit()
    rig.tell(Do((Own(1),)), BeginAnew())
    assert rig.told("supervisor") == [ActorCrashed("Sample", "SystemExit", None)], "told before"
    actor.cannot.clear()
    rig.tell(BeginAnew(), Do((Own(2),)))
    assert done(rig) == [1, 2]


@pytest.mark.usefixtures("dead")
def test_the_dead_report_how_much_they_were_told_in_vain(rig: Rig) -> None:
    rig.tell("one", "two", ReportRequest(), "three", ReportRequest())
    assert rig.told("supervisor") == [Report("Sample", None, 2), Report("Sample", None, 3)]


@pytest.mark.usefixtures("dead")
def test_what_waits_for_the_dead_is_bounded_and_the_rest_is_counted(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_module, "MAX_HELD", 2)
    rig.tell(*[Do((Own(n),)) for n in range(5)], BeginAnew(), ReportRequest())
    assert rig.told("supervisor") == [Report("Sample", (0, 1), 3)]


@pytest.mark.usefixtures("dead")
def test_who_waits_for_the_dead_is_not_kept_waiting(rig: Rig) -> None:
    assert rig.actor.ask(Barrier()) is None


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_a_report_that_cannot_be_made_is_a_death_and_a_report(
    rig: Rig, error: BaseException
) -> None:
    rig.tell(Cannot("report", error), ReportRequest())
    assert rig.told("supervisor") == [
        ActorCrashed("Sample", type(error).__name__, None),
        Report("Sample", None),
    ]


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_a_report_that_cannot_be_copied_is_a_death_and_a_report(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(shell_module.copy, "deepcopy", fail)
    rig.tell(Do((Own(1),)), ReportRequest())
    assert rig.told("supervisor") == [
        ActorCrashed("Sample", type(error).__name__, (1,)),
        Report("Sample", None),
    ]


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_an_alarm_that_cannot_be_set_is_a_death_like_any(rig: Rig, error: BaseException) -> None:
    rig.tell(Cannot("next_deadline", error), "next")
    assert rig.told("supervisor") == [ActorCrashed("Sample", type(error).__name__, ())]


@pytest.mark.usefixtures("sample")
def test_what_others_would_wait_for_is_done_for_the_message_that_killed_and_no_other(
    rig: Rig,
) -> None:
    killer = Do(error=ValueError())
    rig.tell(killer, "next", BeginAnew(), Do(error=ValueError(1)))
    bequeathed = [told for told in rig.told("bridge") if isinstance(told, Bequeathed)]
    assert [str(each.message.error) for each in bequeathed] == ["", "1"]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_a_will_that_cannot_be_carried_out_keeps_nobody_in_the_dark(
    rig: Rig, error: BaseException
) -> None:
    rig.tell(Cannot("bequeath", error), Do(error=ValueError()))
    assert rig.told("supervisor") == [ActorCrashed("Sample", "ValueError", ())]


@pytest.mark.usefixtures("sample")
def test_states_are_told_again_the_last_one_of_each_owner(rig: Rig) -> None:
    states = [
        StateChanged(Owner.RESPONSE, "requested", 1),
        StateChanged(Owner.MODEL, "open", 1),
        StateChanged(Owner.RESPONSE, "generating", 2),
    ]
    rig.tell(Do(tuple(states)))
    assert rig.told("watchdog") == states
    rig.tell(StatesWanted())
    assert rig.told("watchdog") == [states[2], states[1]]


@pytest.mark.usefixtures("sample")
def test_the_states_of_the_life_before_are_not_told_again(rig: Rig) -> None:
    state = StateChanged(Owner.MODEL, "open", 1)
    rig.tell(Do((state,)), Do(error=ValueError()), StatesWanted(), BeginAnew(), StatesWanted())
    assert rig.told("watchdog") == [state]


# ---- the socket readers' brake


def test_waiting_until_handled_waits_for_everything_told_before(
    blocking: BlockingActors, rig: Rig
) -> None:
    held = threading.Event()

    class Slow(Shell):
        def handle(self, message: object, now: float) -> list[object]:  # noqa: ARG002
            assert held.wait(5.0)
            return []

    slow = Slow.start(blocking, rig.log)
    slow.tell("work")
    waiter = threading.Thread(target=wait_until_handled, args=(slow,))
    waiter.start()
    assert waiter.is_alive()
    held.set()
    waiter.join(5.0)
    assert not waiter.is_alive()
    slow.stop()


def test_waiting_for_the_dead_or_the_stuck_ends(
    rig: Rig, blocking: BlockingActors, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = Sample.start(rig.stepper, rig.log)
    dead.stop()
    wait_until_handled(dead)
    monkeypatch.setattr(shell_module, "FLOW_TIMEOUT_S", 0.0)
    held = threading.Event()

    class Stuck(Shell):
        def handle(self, message: object, now: float) -> list[object]:  # noqa: ARG002
            assert held.wait(5.0)
            return []

    stuck = Stuck.start(blocking, rig.log)
    stuck.tell("work")
    wait_until_handled(stuck)
    held.set()
    stuck.stop()
