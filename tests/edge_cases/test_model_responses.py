"""Responses that begin, end and are cancelled in odd ways."""

from __future__ import annotations

import dataclasses

import pytest

from callengine import Agent, EndCause, Settings, Tool, VadConfig
from callengine.machines.response import RETRY_DELAY_S, ResponseSlot
from callengine.machines.response_terms import (
    Created,
    CreateRefused,
    CreateWanted,
    Done,
    Purpose,
    SendCreate,
    Settlement,
    Wanted,
)
from callengine.testing import BargeIn, Behaviour, Ending, Reply, Say, ToolCall
from callengine.testing.caller.script import Wait, WaitUntilQuiet
from callengine.testing.held import Held, noise, reply
from callengine.testing.realtime.faults import (
    AtResponse,
    AtResponseDone,
    DelaySessionUpdated,
    DuplicateEvents,
    FailResponse,
    Fault,
    NoCreated,
    SendRaw,
    delta_message,
    event_message,
)
from callengine.testing.realtime.record import CancelOutcome
from callengine.testing.realtime.script import CancelStyle
from tests.edge_cases.model_calls import (
    ASK,
    FAREWELL,
    INVENTED,
    REPLIES,
    STOP,
    YES,
    call,
    check,
    errors,
    heard,
)

INTERRUPT = [*ASK[:2], BargeIn(STOP, 0.5), WaitUntilQuiet(2.0, 20.0)]
LONG = [reply(1.0, 1), reply(9.0, 2), reply(1.5, 3)]
ACTIVE = "conversation_already_has_active_response"
STRAY = noise(0.1, 4_321)
"""Audio that no reply has: if the caller gets any of it, the laws do not know where it is from."""


def deltas_after(held: Held, number: int, at: float) -> int:
    """How many pieces of audio the n-th response still sent after that moment."""
    wanted = held.model.responses[number - 1].id
    return sum(
        event.type == "response.output_audio.delta"
        and event.body["response_id"] == wanted
        and event.at > at
        for event in held.model.sent
    )


# ---- cancelled


@pytest.mark.edge_case(36, 37, 53)
@pytest.mark.parametrize("style", CancelStyle)
@pytest.mark.parametrize("in_flight", [0, 1, 8])
def test_what_is_in_flight_after_our_cancel_is_not_heard(
    in_flight: int, style: CancelStyle
) -> None:
    behaviour = Behaviour(
        latency_s=0.08,
        pace=2.0,
        delta_bytes=(800,),
        deltas_in_flight=in_flight,
        cancel_takes_s=0.4,
        cancel_style=style,
    )
    held = call(INTERRUPT, LONG, behaviour=behaviour, settings=Settings(onset_frames=2))
    check(held)
    (cancel,), (truncate,) = held.model.cancels, held.model.truncates
    (entry,) = held.interruptions
    cut = held.model.responses[1]
    assert (cancel.response_id, cancel.outcome) == (cut.id, CancelOutcome.CANCELLED)
    assert deltas_after(held, 2, cancel.at) == in_flight
    assert truncate.accepted
    assert truncate.item_id == cut.items[0].id
    assert cut.done_at is not None
    assert truncate.at < cut.done_at, "allowed while the response still comes"
    assert entry.cancel_settlement is Settlement.DONE
    assert held.summary.response.unexpected_done == 0
    assert held.was_heard(held.model.responses[2])


@pytest.mark.edge_case(36, 37)
@pytest.mark.parametrize("style", CancelStyle)
@pytest.mark.parametrize("in_flight", [0, 8])
def test_what_is_in_flight_after_the_server_heard_speech_is_not_heard(
    in_flight: int, style: CancelStyle
) -> None:
    behaviour = Behaviour(
        pace=2.0,
        delta_bytes=(800,),
        deltas_in_flight=in_flight,
        cancel_takes_s=0.4,
        cancel_style=style,
    )
    held = call(INTERRUPT, LONG, behaviour=behaviour)
    check(held)
    cut = held.model.responses[1]
    assert (cut.status, cut.reason) == ("cancelled", "turn_detected")
    assert deltas_after(held, 2, held.model.speech_started[-1].at) == in_flight
    assert len(held.model.responses) == held.summary.response.responses == 3
    assert held.was_heard(held.model.responses[2])


@pytest.mark.edge_case(39)
@pytest.mark.parametrize("created_after_s", [1.2, 1.5])
def test_a_response_that_begins_after_the_caller_has_spoken_is_silenced(
    created_after_s: float,
) -> None:
    held = call(
        [Say(STOP), Wait(created_after_s), WaitUntilQuiet(2.0, 20.0)],
        agent=Agent(greeting_protected=False),
        behaviour=Behaviour(created_after_s=created_after_s),
    )
    check(held)
    greeting, answer = held.model.responses
    assert [cancel.response_id for cancel in held.model.cancels] == [greeting.id]
    assert greeting.created_at is not None
    assert held.model.cancels[0].at == pytest.approx(greeting.created_at + 0.01)
    assert heard(held) == answer.audio


# ---- announced too little, or too much


BEFORE = {"unexpected_created": 0, "unexpected_done": 0, "dropped_unknown_bytes": 0}


@pytest.mark.edge_case(40)
@pytest.mark.parametrize(
    ("faults", "counted", "in_all"),
    [
        # Its audio cannot be told from a stranger's; the turn it answered is answered again.
        ((NoCreated(2),), {"unexpected_done": 1, "dropped_unknown_bytes": 16_000}, 3),
        ((DuplicateEvents(2, ("response.created",)),), {"unexpected_created": 1}, 2),
        ((DuplicateEvents(2, ("response.done",)),), {"unexpected_done": 1}, 2),
        (
            (SendRaw(AtResponseDone(2), delta_message("resp_sim0002", "item_sim_a3", STRAY)),),
            {"dropped_unknown_bytes": len(STRAY)},
            2,
        ),
        (
            (SendRaw(AtResponse(2, 500), delta_message("resp_nobody", "item_sim_a3", STRAY)),),
            {"dropped_unknown_bytes": len(STRAY)},
            2,
        ),
        (
            (
                SendRaw(
                    AtResponse(2, 500),
                    event_message("response.done", response={"id": "resp_x", "status": "failed"}),
                ),
            ),
            {"unexpected_done": 1},
            2,
        ),
    ],
    ids=["no created", "created twice", "done twice", "after done", "unknown", "unknown done"],
)
def test_a_response_is_heard_once_whatever_is_told_of_it(
    faults: tuple[Fault, ...], counted: dict[str, int], in_all: int
) -> None:
    held = call(ASK, REPLIES, *faults)
    check(held, *INVENTED)
    got = dataclasses.asdict(held.summary.response) | dataclasses.asdict(held.summary.conversation)
    assert {name: got[name] for name in BEFORE} == BEFORE | counted
    first, *_, last = held.model.responses
    assert heard(held) == first.audio + last.audio
    assert len(held.model.responses) == in_all
    assert held.summary.response.stuck_recoveries == 0


@pytest.mark.edge_case(40)
def test_an_item_that_was_never_announced_is_heard_in_its_place_and_truncated_by_its_id() -> None:
    """It belongs to the response that is under way: to be announced is not what makes it audio."""
    behaviour = Behaviour(pace=60.0, delta_bytes=(8_000,))
    stray = SendRaw(AtResponseDone(1), "{}")
    late = SendRaw(AtResponse(2, 2_000), delta_message("resp_sim0002", "item_new", STRAY))
    held = call(INTERRUPT, REPLIES, stray, late, behaviour=behaviour)
    cuts = [truncate.item_id for truncate in held.model.truncates]
    assert cuts == [held.model.responses[1].items[0].id, "item_new"]
    assert held.summary.audio.unknown_response_bytes == 0
    assert errors(held) == ["item_truncate_invalid_item_id"], "the simulator has no such item"
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP


# ---- two at once


def crossing(wait_s: float, latency_s: float, *, named: bool) -> Held:
    """A tool's result is told while the server answers, or is about to answer, a new turn."""
    tool = Tool("look", "", {"type": "object"}, lambda: "a result")
    replies = [reply(1.0, 1), Reply(function_calls=(ToolCall("look"),)), *REPLIES[2:]]
    held = call(
        [*ASK[:2], Wait(wait_s), Say(YES), WaitUntilQuiet(1.5, 20.0)],
        replies,
        agent=Agent(tools=(tool,), vad=VadConfig(silence_duration_ms=200)),
        behaviour=Behaviour(active_error_names_event=named),
        latency_s=latency_s,
    )
    check(held)
    assert [output.output for output in held.model.function_outputs] == ['"a result"']
    assert errors(held) == [ACTIVE]
    return held


@pytest.mark.edge_case(41, 42, 51)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("latency_s", [0.3, 0.5])
def test_a_create_that_meets_a_response_of_the_servers_own_is_asked_for_once_more(
    latency_s: float, named: bool
) -> None:
    held = crossing(0.6, latency_s, named=named)
    _, _, automatic, result = held.model.responses
    assert (automatic.automatic, result.automatic) == (True, False)
    assert [create.response_id is None for create in held.model.creates] == [False, True, False]
    assert held.summary.response.creates_refused == 1
    assert held.was_heard(automatic), "the response under way is not affected"
    assert held.was_heard(result)


@pytest.mark.edge_case(42)
@pytest.mark.parametrize(("wait_s", "latency_s"), [(0.5, 0.05), (0.9, 0.3), (1.2, 0.5)])
def test_a_create_that_is_quicker_than_the_server_is_not_asked_for_again(
    wait_s: float, latency_s: float
) -> None:
    """The error that the server's own response gets names nobody: it is not about our create."""
    held = crossing(wait_s, latency_s, named=True)
    _, _, result, answer = held.model.responses
    assert not result.automatic
    assert held.was_heard(result)
    assert held.was_heard(answer), "the turn that the server could not answer is answered after it"
    assert held.summary.conversation.answers_asked_for == 1
    assert len(held.model.creates) == 3, "the greeting, the result, the answer"


@pytest.mark.edge_case(42)
@pytest.mark.parametrize("latency_s", [0.005, 0.1])
def test_a_caller_who_speaks_before_the_session_is_there_is_greeted_once(latency_s: float) -> None:
    held = call(
        [Say(YES), WaitUntilQuiet(1.0, 20.0), WaitUntilQuiet(3.0, 20.0)],
        REPLIES,
        DelaySessionUpdated(2.0),
        latency_s=latency_s,
    )
    check(held)
    assert errors(held) == [ACTIVE]
    greeting, answer = held.model.responses
    instructed = ["instructions" in create.response for create in held.model.creates]
    assert instructed == [True, False], "one greeting, one answer"
    assert heard(held) == greeting.audio + answer.audio


@pytest.mark.edge_case(41, 42)
@pytest.mark.parametrize("purpose", Purpose)
def test_a_create_that_seemed_refused_and_is_answered_after_all_is_not_repeated(
    purpose: Purpose,
) -> None:
    slot = ResponseSlot()
    (create, _) = slot.handle(CreateWanted(Wanted(purpose)), 0.0)
    assert isinstance(create, SendCreate)
    slot.handle(CreateRefused(None), 0.1)
    slot.handle(Created("r1", create.event_id), 0.2)
    assert slot.purpose is purpose
    slot.handle(Done("r1", failed=False), 1.0)
    assert not slot.busy


@pytest.mark.edge_case(41, 42)
def test_a_create_that_is_answered_late_costs_no_other_that_is_out() -> None:
    slot = ResponseSlot()
    slot.handle(CreateWanted(Wanted(Purpose.TOOL_RESULT)), 0.0)
    slot.handle(CreateRefused(None), 0.1)
    slot.handle(CreateWanted(Wanted(Purpose.CONTINUATION)), 0.2)
    slot.handle(Created("r1", "create-1"), 0.3)
    actions = slot.handle(Done("r1", failed=False), RETRY_DELAY_S)
    creates = [action for action in actions if isinstance(action, SendCreate)]
    assert [create.wanted.purpose for create in creates] == [Purpose.CONTINUATION]
    slot.handle(Created("r2", creates[0].event_id), 2.0)
    slot.handle(Done("r2", failed=False), 3.0)
    assert not slot.busy


SIDE = "resp_side01"


@pytest.mark.edge_case(63)
def test_a_response_outside_the_conversation_is_not_spoken() -> None:
    """Its deltas come between those of the answer; it is told apart by its id alone."""
    apart = {"id": SIDE, "conversation_id": None, "metadata": {"topic": "summary"}}
    done = {**apart, "status": "completed"}
    answer = AtResponse(2, 300), AtResponse(2, 600), AtResponse(2, 1_200)
    held = call(
        ASK,
        REPLIES,
        SendRaw(answer[0], event_message("response.created", response=apart)),
        *(SendRaw(at, delta_message(SIDE, "item_side", STRAY)) for at in answer),
        SendRaw(answer[2], event_message("response.done", response=done)),
    )
    check(held, *INVENTED)
    assert heard(held) == b"".join(response.audio for response in held.model.responses)
    assert held.summary.audio.out_of_band_bytes == 3 * len(STRAY)
    assert held.summary.response.responses == 2
    assert held.summary.response.unexpected_created == held.summary.response.unexpected_done == 0


# ---- ended badly


BAD_ENDINGS = [ending for ending in Ending if ending is not Ending.COMPLETED]


@pytest.mark.edge_case(64)
@pytest.mark.parametrize("ending", BAD_ENDINGS)
@pytest.mark.parametrize("after_ms", [0, 700])
def test_a_response_that_ends_badly_is_heard_as_far_as_it_came_or_asked_for_again(
    after_ms: int, ending: Ending
) -> None:
    held = call(ASK, REPLIES, FailResponse(2, ending, after_ms))
    check(held)
    failed, *again = held.model.responses[1:]
    assert failed.status in {"failed", "incomplete"}
    assert len(failed.audio) == after_ms * 8
    assert held.summary.conversation.failed_responses == (failed.status == "failed")
    assert held.summary.response.retries == len(again) == (after_ms == 0)
    assert held.was_heard(again[0] if again else failed)
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP


@pytest.mark.edge_case(64)
@pytest.mark.parametrize("ending", BAD_ENDINGS)
def test_a_model_that_fails_again_says_goodbye(ending: Ending) -> None:
    held = call(ASK, REPLIES, FailResponse(2, ending), FailResponse(3, ending))
    assert held.summary.end_cause is EndCause.MODEL_FAILED
    assert heard(held) == held.model.responses[0].audio + FAREWELL
    assert held.caller.closed is not None
    asked_at = held.model.speech_stopped[-1].at
    assert held.caller.closed.at - asked_at < 5.0, "the caller does not wait for long"
