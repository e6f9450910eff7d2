"""A call put together: its seven actors know each other, and whatever dies, it ends."""

from __future__ import annotations

import json
import queue
import threading
from typing import TYPE_CHECKING

import pykka
import pytest

from callengine.actors.call import Call, Setting, start_call
from callengine.actors.host_calls import HostCalls
from callengine.actors.loop import Loop
from callengine.actors.realtime_bridge import RealtimeBridge
from callengine.actors.stepper import Stepper
from callengine.actors.supervisor import Supervisor
from callengine.actors.threads import BlockingActors, Threads
from callengine.actors.twilio_ingress import TwilioIngress
from callengine.actors.tx_pacer import TxPacer
from callengine.actors.vad_detector import VADDetector
from callengine.actors.watchdog import Watchdog
from callengine.agent import Agent
from callengine.logs import CallLog
from callengine.machines.lifecycle import MAX_RESTARTS
from callengine.messages import EndCause, ModelClosed, ModelConnected
from callengine.settings import Settings
from tests.actors.rig import CarrierTape, ModelTape

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.summary import CallSummary

ACTORS = [
    "HostCalls",
    "RealtimeBridge",
    "Supervisor",
    "TwilioIngress",
    "TxPacer",
    "VADDetector",
    "Watchdog",
]
STARTED = {
    "supervisor": Supervisor,
    "ingress": TwilioIngress,
    "detector": VADDetector,
    "pacer": TxPacer,
    "bridge": RealtimeBridge,
    "watchdog": Watchdog,
    "host_calls": HostCalls,
}
START = json.dumps(
    {
        "event": "start",
        "streamSid": "MZ1",
        "start": {
            "streamSid": "MZ1",
            "callSid": "CA1",
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        },
    }
)


class Held:
    """A call on a stepper, with tapes for sockets."""

    def __init__(self) -> None:
        self.stepper = Stepper()
        self.carrier, self.model = CarrierTape(), ModelTape()
        self.concluded: list[CallSummary] = []
        self.call: Call = start_call(
            Setting(self.stepper, self.stepper, CallLog()),
            Settings(model_retries=0),
            Agent(),
            (self.carrier, self.model),
            self.concluded.append,
        )

    def crash(self, name: str) -> None:
        """From now on an actor crashes whatever it is told, and it is told something."""
        ref = pykka.ActorRegistry.get_by_class_name(name)[0]

        def handle(message: object, now: float) -> list[object]:
            raise SystemExit(f"{message} at {now}")

        actor = ref.actor_inbox.actor  # type: ignore[attr-defined]
        actor.handle = handle
        for _ in range(MAX_RESTARTS + 1):
            ref.tell("anything")

    def ended(self, within_s: float = 60.0) -> CallSummary:
        """Its summary, the only one, with everybody gone."""
        self.stepper.run(until=self.stepper.now() + within_s)
        (summary,) = self.concluded
        assert pykka.ActorRegistry.get_all() == []
        return summary


def test_a_call_is_seven_actors() -> None:
    held = Held()
    names = sorted(ref.actor_class.__name__ for ref in pykka.ActorRegistry.get_all())
    assert names == ACTORS
    held.call.end(EndCause.SHUTDOWN)
    held.ended()


def test_the_model_is_connected_to_when_the_stream_starts() -> None:
    held = Held()
    held.call.received(START)
    held.stepper.settle()
    assert held.model.tape == [("connect",)]
    assert json.loads(held.carrier.tape[0][1])["event"] == "mark"
    held.call.carrier_closed(1006, "")
    summary = held.ended()
    assert (summary.call_sid, summary.stream_sid) == ("CA1", "MZ1")
    assert summary.end_cause is EndCause.CARRIER_LOST


@pytest.mark.parametrize("name", ACTORS)
@pytest.mark.parametrize("begun", [False, True])
def test_whichever_actor_crashes_again_and_again_the_call_ends_with_a_summary_and_closed_sockets(
    name: str, begun: bool
) -> None:
    held = Held()
    if begun:
        held.call.received(START)
        held.stepper.settle()
        assert held.model.tell_bridge is not None
        held.model.tell_bridge(ModelConnected())
    held.crash(name)
    summary = held.ended()
    assert summary.end_cause is EndCause.CRASHED
    assert summary.end_detail == f"{name}: SystemExit"
    assert summary.call_sid == ("CA1" if begun else "")
    assert summary.audio.balance_bytes == 0
    assert ("close", 1011, "crashed") in held.carrier.tape
    assert ("close",) in held.model.tape


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_that_crashes_while_the_rest_is_being_heard_ends_it(name: str) -> None:
    held = Held()
    held.call.received(START)
    held.stepper.settle()
    assert held.model.tell_bridge is not None
    held.model.tell_bridge(ModelClosed(EndCause.MODEL_LOST, "gone"))
    held.stepper.settle()
    if pykka.ActorRegistry.get_by_class_name(name):
        held.crash(name)
    assert held.ended().end_cause is EndCause.MODEL_LOST


def test_two_actors_that_crash_are_one_end() -> None:
    held = Held()
    held.crash("TxPacer")
    held.crash("RealtimeBridge")
    assert held.ended().end_detail in {"TxPacer: SystemExit", "RealtimeBridge: SystemExit"}


def test_an_actor_that_cannot_start_leaves_nothing_of_the_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of the seven, and what is raised for the calling thread is raised there, afterwards."""
    for name, kind in STARTED.items():
        for error in (ValueError(), SystemExit(), MemoryError(), KeyboardInterrupt()):
            with monkeypatch.context() as patched:
                patched.setattr(kind, "__init__", raising(error))
                held = Held.__new__(Held)
                if isinstance(error, KeyboardInterrupt):
                    with pytest.raises(KeyboardInterrupt):
                        held.__init__()  # type: ignore[misc]
                else:
                    held.__init__()  # type: ignore[misc]
                    held.call.received(START)
                    held.call.carrier_closed(1011, "")
                    held.call.end(EndCause.SHUTDOWN)
                    held.call.flow()
                    held.call.abandon()
            summary = held.ended(within_s=0.0)
            assert summary.end_cause is EndCause.CRASHED
            assert summary.end_detail == f"{name} could not start: {type(error).__name__}"
            assert held.carrier.tape == [("close", 1011, "crashed")]
            assert held.model.tape == [("close",)]
            assert held.stepper.alarms == 0


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("what", ["carrier", "model", "conclude"])
def test_whatever_fails_when_a_call_is_taken_apart_the_rest_is_done(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, what: str
) -> None:
    monkeypatch.setattr(Watchdog, "__init__", raising(ValueError()))
    carrier, model, concluded = CarrierTape(), ModelTape(), list[object]()
    conclude = concluded.append
    if what == "conclude":
        conclude = raising(error)
    else:
        monkeypatch.setattr({"carrier": carrier, "model": model}[what], "close", raising(error))
    stepper = Stepper()
    setting = Setting(stepper, stepper, CallLog())
    start_call(setting, Settings(), Agent(), (carrier, model), conclude)
    stepper.settle()
    assert pykka.ActorRegistry.get_all() == []
    assert [len(carrier.tape), len(model.tape), len(concluded)] == [
        what != each for each in ("carrier", "model", "conclude")
    ]


def test_a_call_goes_on_while_no_thread_is_to_be_had_for_what_may_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stepper, threads = Stepper(), Threads("host", 1)
    model = ModelTape()
    concluded: list[CallSummary] = []
    setting = Setting(stepper, BlockingActors(stepper, threads), CallLog())
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", raising(RuntimeError()))
        links = CarrierTape(), model
        call = start_call(setting, Settings(), Agent(), links, concluded.append)
        call.received(START)
        stepper.settle()
        assert model.tape == [("connect",)]
        call.received('{"event":"stop","streamSid":"MZ1"}')
        stepper.run(until=60.0)
    assert [each.end_cause for each in concluded] == [EndCause.CALLER_HUNG_UP]
    assert [ref.actor_class for ref in pykka.ActorRegistry.get_all()] == [HostCalls]
    threads.run(lambda: None)  # whoever comes next
    threads.stop(5.0)
    assert pykka.ActorRegistry.get_all() == [], "what waited was done"


def test_a_call_that_crashes_leaves_another_one_alone() -> None:
    doomed, other = Held(), Held()
    doomed.crash("TxPacer")
    doomed.stepper.run(until=5.0)
    assert len(doomed.concluded) == 1
    names = sorted(ref.actor_class.__name__ for ref in pykka.ActorRegistry.get_all())
    assert names == ACTORS
    other.call.end(EndCause.SHUTDOWN)
    other.ended()


def test_what_comes_after_the_end_is_dropped() -> None:
    held = Held()
    held.call.end(EndCause.SHUTDOWN, "enough")
    assert held.ended().end_detail == "enough"
    held.call.received(START)
    held.call.carrier_closed(1000, "")
    held.call.end(EndCause.CRASHED)
    held.call.flow()
    held.call.abandon()
    assert not held.stepper._ready
    assert len(held.concluded) == 1


def test_an_abandoned_call_leaves_nobody_behind() -> None:
    held = Held()
    held.call.abandon()
    held.stepper.settle()
    assert pykka.ActorRegistry.get_all() == []
    assert held.concluded == []


def test_a_call_on_real_threads_ends_as_well() -> None:
    loop, threads = Loop(), Threads("host", 1)
    concluded: queue.Queue[CallSummary] = queue.Queue()
    conclude: Callable[[CallSummary], None] = concluded.put
    setting = Setting(loop, BlockingActors(loop, threads), CallLog())
    links = CarrierTape(), ModelTape()
    call = start_call(setting, Settings(), Agent(), links, conclude)
    call.received(START)
    call.flow()
    call.received('{"event":"stop","streamSid":"MZ1"}')
    assert concluded.get(timeout=5.0).end_cause is EndCause.CALLER_HUNG_UP
    for ref in pykka.ActorRegistry.get_all():
        ref.stop(timeout=5.0)  # all are told already: this only waits
    loop.stop(5.0)
    threads.stop(5.0)
    assert concluded.empty()
