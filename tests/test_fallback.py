"""A caller whose model is slow, or gone: he hears the fallback, then a new session, or a goodbye.

What is called dead air here is what the caller himself recorded: nobody spoke, neither he nor we.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from callengine import Agent, CallSummary, EndCause, Settings, Tool
from callengine.actors.host_calls import HostCalls
from callengine.machines.onsets import Outcome
from callengine.messages import ToolCalled, ToolReturned
from callengine.testing import (
    BargeIn,
    Behaviour,
    Reply,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    ToolCall,
    Wait,
    WaitUntilQuiet,
)
from callengine.testing import simulation as simulation_module
from callengine.testing.held import noise, reply
from callengine.testing.realtime import faults
from callengine.testing.realtime.faults import (
    FailResponse,
)
from callengine.testing.speech import clip
from tests.stuck.course import DEAF_TO_HUM, HUM_MS, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step
    from callengine.testing.caller.stream import StreamFacts
    from callengine.testing.realtime.record import Record

QUESTION: Final = clip("caller_question_1")
STOP: Final = clip("caller_barge_in_2")
FALLBACK: Final = noise(1.2, 501)
FAREWELL: Final = noise(0.8, 502)
SORRY: Final = 'I am "back", sorry; 5 < 7 & so on. '
AGENT: Final = Agent(
    instructions="You work at the florist's.",
    greeting="Greet the caller.",
    fallback=FALLBACK,
    fallback_text=SORRY,
    farewell=FAREWELL,
)
GREETING: Final = reply(1.0, 1)
ANSWER: Final = reply(2.0, 2)
BACK: Final = reply(2.0, 31)
PROMISED_S: Final = 3.0
"""A caller who is owed something hears nothing for so long at most, the first time."""

AGAIN_S: Final = 4.2
"""Having heard the fallback he knows that somebody is there."""


@dataclass(frozen=True)
class Told:
    """A call that is over, as the caller and every model of it saw it."""

    summary: CallSummary
    caller: CallRecord
    models: list[Record]

    @property
    def heard(self) -> bytes:
        """Everything, without the silences between."""
        return b"".join(span.payload for span in self.caller.heard)

    @property
    def again(self) -> Record:
        """The only session after the first."""
        (record,) = self.models[1:]
        return record


def call(
    *script: Step,
    broken: Sequence[faults.Fault] = (),
    others: Sequence[SimulatedRealtime] = (),
    replies: Sequence[Reply] = (GREETING, ANSWER),
    behaviour: Behaviour | None = None,
    agent: Any = AGENT,  # noqa: ANN401 - an agent, or who chooses one
    settings: Settings | None = None,
    sabotage: Callable[[Simulation], None] = lambda _: None,
    stream: StreamFacts | None = None,
    start_overrides: dict[str, object] | None = None,
    **host: Any,  # noqa: ANN401 - of the simulation
) -> Told:
    """Hold a call; `others` take the place of the first model, one after the other."""
    first = SimulatedRealtime(replies, behaviour=behaviour, faults=broken)
    left = iter(others)
    if others:
        host["next_model"] = lambda: next(left)
    simulation = Simulation(
        SimulatedCaller(script, stream=stream, start_overrides=start_overrides),
        first,
        agent,
        settings or Settings(),
        latency_s=0.005,
        **host,
    )
    sabotage(simulation)
    summary = simulation.run()
    assert summary.crashes == ()
    assert summary.audio.balance_bytes == 0
    caller = simulation.caller
    assert isinstance(caller, SimulatedCaller)
    assert caller.record.violations == []
    return Told(summary, caller.record, [each.record for each in (first, *others)])


def asks(*more: Step) -> list[Step]:
    """The caller is greeted, and asks."""
    return [WaitUntilQuiet(0.5, 12.0), Say(QUESTION), *more]


def another(
    *replies: Reply, broken: Sequence[faults.Fault] = (), first_audio_s: float = 0.3
) -> SimulatedRealtime:
    """A model to go on with."""
    return SimulatedRealtime(
        replies or (BACK, reply(1.0, 32)),
        behaviour=Behaviour(first_audio_s=first_audio_s),
        faults=broken,
        ids_from=100,
    )


def silences_s(record: CallRecord, until: float | None = None) -> list[float]:
    """How long nobody was heard, each time, from the beginning of the call to its end, or before
    `until`."""
    assert record.closed is not None
    end_at = record.closed.at if until is None else until
    sounds = [(span.at, span.until) for span in record.heard]
    sounds += [(said.onset_at, said.end_at) for said in record.said]
    quiet_from, gaps = record.opened_at, []
    for begin, end in [*sorted(sound for sound in sounds if sound[0] < end_at), (end_at, end_at)]:
        gaps.append(begin - quiet_from)
        quiet_from = max(quiet_from, end)
    return [gap for gap in gaps if gap > 0]


def whole_frames(audio: bytes) -> bytes:
    """As it is sent."""
    return audio + b"\xff" * (-len(audio) % 160)


# ---- what he hears while he waits


def fallbacks_heard(told: Told) -> int:
    """How often it was heard, whole."""
    return sum(span.payload.count(FALLBACK) for span in told.caller.heard)


def assert_promise(told: Told, until: float | None = None) -> None:
    """The fallback came in time, and again when it had to."""
    silences = silences_s(told.caller, until)
    waits = [gap for gap in silences if gap > PROMISED_S]
    assert fallbacks_heard(told) == told.summary.fallbacks >= 1
    assert len(waits) < told.summary.fallbacks, "the first came within the promise"
    assert max(silences) <= AGAIN_S
    assert told.summary.dead_air_s <= max(silences) + 0.1, "the summary knows of it"


@pytest.mark.edge_case(67, 75)
def test_a_model_that_never_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation_module._ModelLink, "connect", lambda *_: None)
    told = call(Wait(60.0))
    assert_promise(told)
    assert told.caller.heard[0].at <= PROMISED_S
    assert told.summary.end_cause is EndCause.MODEL_UNREACHABLE
    assert told.heard == FALLBACK * 3 + FAREWELL


@pytest.mark.edge_case(54, 67)
def test_a_session_that_is_never_confirmed() -> None:
    told = call(Wait(60.0), broken=[faults.DelaySessionUpdated(None)])
    assert_promise(told)
    assert told.caller.heard[0].at <= PROMISED_S
    assert told.summary.end_cause is EndCause.SESSION_REFUSED
    assert told.heard == FALLBACK * 2 + FAREWELL


@pytest.mark.edge_case(75)
@pytest.mark.parametrize(("number", "awaited"), [(1, GREETING), (2, ANSWER)])
def test_a_model_that_answers_only_after_six_seconds(number: int, awaited: Reply) -> None:
    slow = faults.StallAudio(number, 0, 6.0)
    told = call(WaitUntilQuiet(2.6, 20.0), Say(QUESTION), Wait(10.0), broken=[slow])
    assert fallbacks_heard(told) == told.summary.fallbacks == 1
    assert max(silences_s(told.caller, until=heard_at(told, awaited))) <= PROMISED_S
    assert told.heard.count(GREETING.audio) == told.heard.count(ANSWER.audio) == 1
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert told.summary.model_reconnects == told.summary.stuck_recoveries == 0


def heard_at(told: Told, awaited: Reply) -> float:
    """When it began to be heard, whole."""
    found = [(span, span.payload.find(awaited.audio)) for span in told.caller.heard]
    return min(span.at + offset / 8_000 for span, offset in found if offset >= 0)


@pytest.mark.edge_case(75)
@pytest.mark.parametrize("said_first", [b"", noise(0.5, 77)], ids=["at once", "behind a word"])
def test_a_tool_that_runs_for_eight_seconds(
    monkeypatch: pytest.MonkeyPatch, said_first: bytes
) -> None:
    simulations: list[Simulation] = []
    handle = HostCalls.handle

    def slowly(actor: HostCalls, message: Any, now: float) -> Any:  # noqa: ANN401
        if not isinstance(message, ToolCalled):
            return handle(actor, message, now)
        returned = ToolReturned(message.call_id, '"from nine to five"')
        (simulation,) = simulations
        simulation.stepper.call_at(now + 8.0, lambda: tell(simulation, "bridge", returned))
        return []

    monkeypatch.setattr(HostCalls, "handle", slowly)
    tool = Tool("hours", "", {"type": "object"}, dict)
    told = call(
        *asks(Wait(14.0)),
        replies=[GREETING, Reply(said_first, "", (ToolCall("hours"),)), BACK],
        agent=replace(AGENT, tools=(tool,)),
        sabotage=simulations.append,
    )
    assert_promise(told, until=heard_at(told, BACK))
    assert told.heard == GREETING.audio + said_first + FALLBACK * 2 + BACK.audio
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP


@pytest.mark.edge_case(64)
def test_an_answer_that_fails_twice_is_asked_of_another_session() -> None:
    told = call(*asks(Wait(8.0)), broken=[FailResponse(2), FailResponse(3)], others=[another()])
    assert max(silences_s(told.caller, until=heard_at(told, BACK))) <= PROMISED_S
    assert told.heard == GREETING.audio + BACK.audio
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert told.summary.model_reconnects == 1


@pytest.mark.edge_case(75)
@pytest.mark.parametrize("number", [1, 2], ids=["in the greeting, protected", "in an answer"])
def test_a_model_that_stalls_in_the_middle_of_a_sentence(number: int) -> None:
    """The fallback comes between the halves, to the sample, and nothing is lost or truncated."""
    stalls = faults.StallAudio(number, 500, 8.0)
    told = call(WaitUntilQuiet(2.6, 20.0), Say(QUESTION), Wait(14.0), broken=[stalls])
    assert told.summary.fallbacks == fallbacks_heard(told) == 1
    assert max(silences_s(told.caller, until=told.caller.heard[-1].at)) <= AGAIN_S
    assert told.heard.replace(FALLBACK, b"") == GREETING.audio + ANSWER.audio
    assert told.models[0].truncates == []
    assert told.summary.dead_air_s <= AGAIN_S
    assert told.summary.audio.balance_bytes == 0


def test_a_caller_who_interrupts_the_fallback_in_the_middle_of_a_sentence() -> None:
    """What he had heard of the sentence is told to the model, the fallback is not."""
    stalls = faults.StallAudio(2, 1_000, 20.0)
    told = call(
        WaitUntilQuiet(0.7, 20.0),
        Say(QUESTION),
        WaitUntilQuiet(2.6, 20.0),
        Wait(0.2),
        Say(STOP),
        Wait(6.0),
        broken=[stalls],
        replies=(GREETING, ANSWER, BACK),
    )
    assert told.summary.barge_in_events == 1
    heard_bytes = 8 * told.models[0].truncates[-1].audio_end_ms
    assert 8_000 <= heard_bytes < len(ANSWER.audio)
    assert ANSWER.audio[: heard_bytes - 160] in told.heard
    assert ANSWER.audio[: heard_bytes + 160] not in told.heard
    assert BACK.audio in told.heard


# ---- the fallback is speech like any other


def waiting_for_a_slow_answer(*meanwhile: Step, agent: Agent = AGENT) -> Told:
    """He asks, the answer takes six seconds, and over the fallback he does this."""
    slow = faults.StallAudio(2, 0, 6.0)
    return call(
        *asks(*meanwhile, Wait(12.0)),
        broken=[slow],
        replies=[GREETING, ANSWER, BACK],
        agent=agent,
    )


@pytest.mark.edge_case(75)
def test_who_speaks_over_the_fallback_stops_it_and_is_answered() -> None:
    told = waiting_for_a_slow_answer(BargeIn(STOP, 0.3))
    (clear,) = told.caller.clears
    (entry,) = [e for e in told.summary.barge_ins if e.barge_in is not None]
    assert (entry.outcome, entry.response_id) == (Outcome.ACTED, "fallback-1")
    assert clear.at - told.caller.said[-1].onset_at < 0.3
    assert FALLBACK not in told.heard
    assert told.heard.endswith(BACK.audio)
    assert {each.audio_end_ms for each in told.models[0].truncates} == {0}, "of what was to come"


@pytest.mark.edge_case(75, 79)
def test_a_cough_over_the_fallback_does_not_cost_the_caller_the_rest_of_it() -> None:
    agent = replace(AGENT, vad=DEAF_TO_HUM)
    told = waiting_for_a_slow_answer(BargeIn(HUM_MS * 160, 0.3), agent=agent)
    (entry,) = [e for e in told.summary.barge_ins if e.barge_in is not None]
    assert (entry.outcome, entry.response_id) == (Outcome.RESUMED, "fallback-1")
    heard = told.heard.replace(b"\xff", b"")
    assert heard.startswith(GREETING.audio + FALLBACK)
    assert heard.endswith(BACK.audio), "what the cough stopped at the model is asked for again"
    assert told.summary.fallbacks == 1
