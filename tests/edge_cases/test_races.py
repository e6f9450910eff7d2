"""Two sides at once: the caller speaks, or goes, while the model and the carrier are at it."""

from __future__ import annotations

import audioop
import functools
import itertools
from typing import TYPE_CHECKING, Any, Final

import pytest

from callengine import Agent, EndCause, Settings, VadConfig
from callengine.audio import g711
from callengine.machines.onsets import Outcome
from callengine.testing import (
    BargeIn,
    Behaviour,
    DropSocket,
    HangUp,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
    laws,
)
from callengine.testing.held import Held, hold, noise, reply
from callengine.testing.realtime import faults
from callengine.testing.simulation import Hiccup
from callengine.testing.speech import clip
from tests.edge_cases.carrier_calls import (
    ANSWERED,
    GREETED,
    QUESTION,
    STOP,
    call,
    check,
    closed,
    model_hung_up_on_s,
)

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step

LATENCIES: Final = [0.0, 0.005, 0.06, 0.15]


def interrupted(held: Held) -> None:
    """The second response was cut off, and everybody knows how much of it was heard."""
    check(held)
    (entry,) = held.interruptions
    assert (entry.outcome, entry.response_id) == (Outcome.ACTED, held.model.responses[1].id)
    assert len(held.caller.clears) == 1
    (truncate,) = held.model.truncates
    assert truncate.item_id == held.model.responses[1].items[0].id


# ---- the caller speaks


@pytest.mark.edge_case(76)
@pytest.mark.parametrize("latency_s", LATENCIES)
@pytest.mark.parametrize("quiet_s", [0.01, 0.1, 0.4])
def test_who_speaks_into_silence_interrupts_nothing(quiet_s: float, latency_s: float) -> None:
    """Also right behind the last word: the item was heard whole, and stays whole."""
    held = call([WaitUntilQuiet(quiet_s, 9.0), Say(QUESTION), ANSWERED], latency_s=latency_s)
    check(held)
    assert held.caller.clears == []
    assert held.model.truncates == []
    assert held.model.cancels == []
    assert len(held.model.responses) == 2


@pytest.mark.edge_case(77)
@pytest.mark.parametrize("latency_s", LATENCIES)
@pytest.mark.parametrize("lead_ms", [100, 1_000])
def test_20_s_that_the_model_is_done_with_are_cleared_and_truncated_and_not_cancelled(
    lead_ms: int, latency_s: float
) -> None:
    held = call(
        [GREETED, Say(QUESTION), BargeIn(STOP, 3.0), ANSWERED],
        replies=[reply(1.0, 1), reply(23.0, 2), reply(1.0, 3)],
        behaviour=Behaviour(pace=20.0),
        settings=Settings(lead_ms=lead_ms),
        latency_s=latency_s,
    )
    interrupted(held)
    assert held.model.responses[1].status == "completed"
    assert held.model.cancels == []
    assert held.summary.audio.flushed_bytes > 19 * 8_000
    silence_s = held.caller.silence_after(held.caller.said[-1].onset_at)
    assert silence_s is not None
    assert silence_s < 0.2 + 2 * latency_s


@pytest.mark.edge_case(78)
@pytest.mark.parametrize("latency_s", LATENCIES)
@pytest.mark.parametrize(("onset_frames", "who"), [(2, "we"), (12, "the server")])
def test_whoever_is_first_cancels_and_nobody_else_needs_to(
    onset_frames: int, who: str, latency_s: float
) -> None:
    held = call(
        [GREETED, Say(QUESTION), BargeIn(STOP, 1.0), ANSWERED],
        replies=[reply(1.0, 1), reply(9.0, 2), reply(1.0, 3)],
        behaviour=Behaviour(pace=1.5, latency_s=0.02 if who == "we" else 0.0),
        settings=Settings(onset_frames=onset_frames),
        latency_s=latency_s,
    )
    interrupted(held)
    cut = held.model.responses[1]
    assert cut.status == "cancelled"
    assert cut.reason == ("client_cancelled" if who == "we" else "turn_detected")
    assert [cancel.response_id for cancel in held.model.cancels] in ([], [cut.id])
    assert bool(held.model.cancels) or who == "the server"
    assert held.was_heard(held.model.responses[2])


VOWEL: Final = clip("agent_reply_6")[405 * 160 : 413 * 160]
"""160 ms of the AI's own voice, evenly loud."""


def quieter(audio: bytes, rms: int) -> bytes:
    """As an echo brings it back."""
    return g711.from_pcm16(audioop.mul(g711.to_pcm16(audio), 2, rms / g711.rms(audio)))


@pytest.mark.edge_case(79)
@pytest.mark.parametrize("latency_s", [0.005, 0.15])
@pytest.mark.parametrize(
    ("threshold", "outcome"),
    [(1.0, Outcome.RESUMED), (0.3, Outcome.ACTED)],
    ids=["we alone hear it", "the model hears it too"],
)
def test_an_echo_of_the_ai_is_taken_back_if_the_model_did_not_hear_it(
    threshold: float, outcome: Outcome, latency_s: float
) -> None:
    """What the model hears as a turn is one; then the answer to it is heard."""
    echo = quieter(VOWEL, 780)
    held = call(
        [GREETED, Say(QUESTION), BargeIn(echo, 1.0), ANSWERED],
        replies=[reply(1.0, 1), reply(4.0, 2), reply(1.0, 3)],
        agent=Agent(vad=VadConfig(threshold=threshold)),
        latency_s=latency_s,
    )
    check(held)
    assert [entry.outcome for entry in held.interruptions] == [outcome]
    assert held.was_heard(held.model.responses[1]) == (outcome is Outcome.RESUMED)
    assert held.was_heard(held.model.responses[-1])


@pytest.mark.edge_case(79)
def test_an_echo_that_only_the_model_hears_interrupts_and_is_answered() -> None:
    """The server has stopped its response: to talk on would be to talk of what it forgot."""
    held = call(
        [GREETED, Say(QUESTION), BargeIn(quieter(VOWEL, 250), 1.0), ANSWERED],
        replies=[reply(1.0, 1), reply(4.0, 2), reply(1.0, 3)],
        agent=Agent(vad=VadConfig(threshold=0.1)),
        settings=Settings(onset_rms=2_000),
    )
    interrupted(held)
    assert held.was_heard(held.model.responses[-1])


def cut_in_the_middle(**options: Any) -> Held:  # noqa: ANN401 - of the call
    held = call(
        [GREETED, Say(QUESTION), BargeIn(STOP, 0.7), ANSWERED],
        replies=[reply(1.0, 1), reply(9.0, 2), reply(1.0, 3)],
        **options,
    )
    interrupted(held)
    cut, audio = held.model.responses[1], held.summary.audio
    assert not [f for f in held.frames if f.clears and f.response_id == cut.id]
    unheard = audio.flushed_bytes + audio.stale_bytes + audio.cancelled_bytes
    unheard += audio.unknown_response_bytes  # its `response.done` was faster than they
    assert held.heard_bytes(cut.id, 0, len(cut.audio)) + unheard == len(cut.audio)
    return held


@pytest.mark.edge_case(80)
@pytest.mark.parametrize("deltas_in_flight", [0, 3, 12])
@pytest.mark.parametrize("latency_s", [0.0, 0.15])
def test_nothing_of_what_was_cut_leaves_behind_the_clear(
    deltas_in_flight: int, latency_s: float
) -> None:
    """Not what the server sends on, nor what is on the line."""
    manners = Behaviour(pace=2.0, deltas_in_flight=deltas_in_flight, cancel_takes_s=0.3)
    cut_in_the_middle(behaviour=manners, latency_s=latency_s)


@pytest.mark.edge_case(80)
@pytest.mark.parametrize("before_s", [0.02, 0.05])
@pytest.mark.parametrize("seed", range(3))
def test_nor_does_what_waits_in_a_mailbox(seed: int, before_s: float) -> None:
    """Nobody has a turn for a tenth of a second; then the onset and the deltas are all there."""
    manners = Behaviour(pace=2.0, deltas_in_flight=12, delta_bytes=(160,))
    (undisturbed,) = cut_in_the_middle(behaviour=manners).interruptions
    hiccup = Hiccup(undisturbed.decided_s - before_s, 0.1)
    held = cut_in_the_middle(behaviour=manners, hiccups=[hiccup], seed=seed)
    assert held.interruptions[0].decided_s > undisturbed.decided_s


# ---- the caller goes


@pytest.mark.edge_case(81)
@pytest.mark.parametrize("latency_s", [0.0, 0.02])
@pytest.mark.parametrize("end", [HangUp(), DropSocket()], ids=["hangs up", "is cut"])
def test_a_caller_who_goes_while_a_response_begins_leaves_none_behind(
    end: Step, latency_s: float
) -> None:
    """At every stage: before the session, the create, `response.created`, the first audio."""
    stages = set()
    behaviour = Behaviour(created_after_s=0.02, first_audio_s=0.06)
    for number in range(14):
        held = call([Wait(0.01 * number + 0.005), end], behaviour=behaviour, latency_s=latency_s)
        assert model_hung_up_on_s(held) <= 3 * latency_s + 1e-6
        assert held.caller.closed is not None
        gone_at = held.caller.closed.at + 2 * latency_s + 1e-6
        assert all(create.at <= gone_at for create in held.model.creates)
        assert len(held.model.responses) <= 1
        statuses = tuple(r.first_audio_at is not None for r in held.model.responses)
        stages.add((bool(held.model.creates), statuses))
    assert stages >= {(True, (False,)), (True, (True,))}


@pytest.mark.edge_case(81)
@pytest.mark.parametrize("waited_s", [0.3, 0.5, 0.52, 0.54, 0.6, 0.9])
def test_a_caller_who_goes_before_the_answer_is_not_answered(waited_s: float) -> None:
    held = call([GREETED, Say(QUESTION), Wait(waited_s), HangUp()])
    assert model_hung_up_on_s(held) <= 0.02
    answers = held.model.responses[1:]
    assert all(answer.status == "in_progress" for answer in answers), "cut off with the socket"
    assert held.summary.response.retries == 0


# ---- both go


@pytest.mark.edge_case(84)
@pytest.mark.parametrize("abrupt", [False, True])
@pytest.mark.parametrize("moment_s", [0.6, 3.0])
@pytest.mark.parametrize("model_later_s", [-0.001, 0.0, 0.001])
def test_both_sockets_may_die_at_the_same_moment(
    model_later_s: float, moment_s: float, *, abrupt: bool
) -> None:
    """Whichever is heard of first: nobody is played a farewell, or waited for."""
    model_gone = faults.CloseSocket(faults.After(moment_s + model_later_s), 1011, abrupt=abrupt)
    for seed in range(3):
        held = call(
            [Wait(moment_s), DropSocket(abrupt=abrupt)],
            agent=Agent(farewell=noise(2.0, 77)),
            model_faults=[model_gone],
            settings=Settings(model_retries=0),
            latency_s=0.0,
            seed=seed,
        )
        causes = [EndCause.CARRIER_LOST] * (model_later_s >= 0)
        causes += [EndCause.MODEL_LOST] * (model_later_s <= 0)
        assert held.summary.end_cause in causes
        assert held.model.closed is not None
        assert held.caller.closed is not None
        assert held.model.closed[2] == pytest.approx(held.caller.closed.at, abs=0.0011)
        assert held.summary.duration_s == pytest.approx(moment_s, abs=0.01)


@pytest.mark.edge_case(84)
@pytest.mark.parametrize(
    "at_s", [0.0, 0.005, 0.011, 0.03, 0.3, 0.9, 2.0, 3.5, 4.2, 4.6, 5.5, 6.0, 6.1, 6.4]
)
def test_a_call_that_is_shut_down_at_any_moment_ends_at_once(at_s: float) -> None:
    script: list[Step] = [GREETED, Say(QUESTION), BargeIn(STOP, 1.0), ANSWERED, Wait(60.0)]
    model = SimulatedRealtime([reply(1.0, 1), reply(4.0, 2), reply(1.0, 3)])
    simulation = Simulation(SimulatedCaller(script), model, latency_s=0.005)

    def shut_down() -> None:
        simulation.call.end(EndCause.SHUTDOWN, "the engine is stopping")

    simulation.stepper.call_at(at_s, shut_down)
    held = hold(simulation)
    laws.nothing_is_left(held)
    laws.nothing_crashes(held)
    assert held.summary.end_cause is EndCause.SHUTDOWN
    assert held.summary.audio.balance_bytes == 0
    assert closed(held) == (1001, "engine")
    assert held.summary.duration_s == pytest.approx(at_s, abs=0.02)
    assert held.model.opened_at is None or held.model.closed is not None


@pytest.mark.edge_case(29, 84)
def test_a_call_that_is_shut_down_twice_or_while_it_ends_ends_once() -> None:
    for first, second in itertools.product([EndCause.SHUTDOWN, EndCause.CARRIER_STALLED], repeat=2):
        caller = SimulatedCaller([WaitUntilHeard(5.0), Wait(60.0)])
        simulation = Simulation(caller, SimulatedRealtime([reply(4.0, 1)]))
        for cause in (first, second):
            end = functools.partial(simulation.call.end, cause)
            simulation.stepper.call_at(2.0, end)
        held = hold(simulation)
        laws.nothing_is_left(held)
        assert held.summary.end_cause is first
