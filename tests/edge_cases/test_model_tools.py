"""Function calls: with speech, together, told too often or wrongly, answered too late."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from callengine import Agent, EndCause, Tool
from callengine.machines.conversation_terms import SendFunctionOutput
from callengine.machines.response_terms import SendCreate
from callengine.messages import (
    BargeInConfirmed,
    HeardItem,
    Interrupted,
    ModelClosed,
    ToolReturned,
)
from callengine.testing import BargeIn, Behaviour, Reply, ToolCall, WaitUntilQuiet
from callengine.testing.held import Held, reply
from callengine.testing.realtime.faults import (
    AtResponse,
    AtResponseDone,
    CloseSocket,
    DuplicateEvents,
    RenameEvents,
    SendRaw,
    event_message,
)
from callengine.wire import realtime_events as wire
from tests.edge_cases.model_calls import ASK, FAREWELL, REPLIES, STOP, call, check, heard
from tests.machines.conversation_rig import Rig, created, delta, done, function_call, only

TOLD = (
    "response.function_call_arguments.done",
    "response.output_item.done",
    "response.done",
)
HOURS = ToolCall("hours", '{"shop":"north"}')


class Shop:
    """A host with one tool."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.agent = Agent(tools=(Tool("hours", "", {"type": "object"}, self._hours),))

    def _hours(self, shop: str) -> str:
        self.asked.append(shop)
        return "nine to five"


def outputs(held: Held) -> list[object]:
    return [json.loads(output.output) for output in held.model.function_outputs]


# ---- one response, several things in it


@pytest.mark.edge_case(49)
@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (reply(1.0, 2, HOURS), ["north"]),
        (Reply(function_calls=(HOURS,)), ["north"]),
        (Reply(function_calls=(HOURS, ToolCall("hours", '{"shop":"south"}'))), ["north", "south"]),
        (reply(1.0, 2, HOURS, ToolCall("hours", '{"shop":"south"}')), ["north", "south"]),
    ],
    ids=["speech and a call", "a call", "two calls", "speech and two calls"],
)
def test_all_calls_are_run_in_order_and_asked_about_once(answer: Reply, asked: list[str]) -> None:
    shop = Shop()
    held = call(ASK, [REPLIES[0], answer, REPLIES[2]], agent=shop.agent)
    check(held)
    assert shop.asked == asked
    assert outputs(held) == ["nine to five"] * len(asked)
    assert len(held.model.creates) == 2, "the greeting, and one for all results"
    assert len({output.call_id for output in held.model.function_outputs}) == len(asked)
    assert heard(held) == REPLIES[0].audio + answer.audio + REPLIES[2].audio
    assert held.summary.conversation.silent_responses == 0


# ---- one call, told in several ways


@pytest.mark.edge_case(50)
def test_a_call_that_is_told_six_times_is_run_once() -> None:
    shop = Shop()
    replies = [REPLIES[0], reply(1.0, 2, HOURS), REPLIES[2]]
    held = call(ASK, replies, DuplicateEvents(2, TOLD), agent=shop.agent)
    check(held)
    assert shop.asked == ["north"]
    assert len(held.model.function_outputs) == 1
    assert held.summary.tools.tool_calls == 1


@pytest.mark.edge_case(50)
@pytest.mark.parametrize("told", TOLD)
def test_a_call_that_is_told_once_is_run_whichever_way_it_is_told(told: str) -> None:
    shop = Shop()
    others = tuple((name, f"{name}.x") for name in TOLD[:2] if name != told)
    replies = [REPLIES[0], reply(1.0, 2, HOURS), REPLIES[2]]
    held = call(ASK, replies, RenameEvents(others), agent=shop.agent)
    check(held)
    assert shop.asked == ["north"]


MEBIBYTE = "y" * 2**20


@pytest.mark.edge_case(50)
@pytest.mark.parametrize(
    ("wanted", "output", "asked"),
    [
        (HOURS, "nine to five", ["north"]),
        (ToolCall("hours", '{"shop":"nor'), {"error": "the arguments are not a JSON object"}, []),
        (ToolCall("hours", "[1]"), {"error": "the arguments are not a JSON object"}, []),
        (ToolCall("hours", "null"), {"error": "the arguments are not a JSON object"}, []),
        (ToolCall("hours", "[" * 100_000), {"error": "the arguments are not a JSON object"}, []),
        (ToolCall("hours", ""), {"error": "the tool failed: TypeError"}, []),
        (ToolCall("hours", '{"town":"x"}'), {"error": "the tool failed: TypeError"}, []),
        (ToolCall("hours", f'{{"shop":"{MEBIBYTE}"}}'), "nine to five", [MEBIBYTE]),
        (ToolCall("nobody"), {"error": "there is no tool named 'nobody'"}, []),
    ],
    ids=["good", "cut", "list", "null", "deep", "empty", "wrong name", "huge", "unknown tool"],
)
def test_whatever_the_model_writes_it_gets_a_result_and_goes_on(
    wanted: ToolCall, output: object, asked: list[str]
) -> None:
    shop = Shop()
    replies = [REPLIES[0], Reply(function_calls=(wanted,)), REPLIES[2]]
    held = call(ASK, replies, agent=shop.agent)
    check(held)
    assert outputs(held) == [output]
    assert shop.asked == asked
    assert heard(held) == REPLIES[0].audio + REPLIES[2].audio


@pytest.mark.edge_case(50)
@pytest.mark.parametrize("lacking", ["call_id", "name", "arguments"])
def test_a_call_that_lacks_something_is_counted_and_not_run(lacking: str) -> None:
    shop = Shop()
    said = {"call_id": "call_x", "name": "hours", "arguments": '{"shop":"x"}'}
    said = {name: value for name, value in said.items() if name != lacking}
    item = {"id": "item_x", "type": "function_call", "status": "completed", **said}
    place = {"response_id": "resp_sim0002", "output_index": 1}
    held = call(
        ASK,
        REPLIES,
        SendRaw(AtResponse(2, 500), event_message(TOLD[0], item_id="item_x", **place, **said)),
        SendRaw(AtResponse(2, 500), event_message(TOLD[1], item=item, **place)),
        agent=shop.agent,
    )
    check(held)
    assert shop.asked == []
    assert held.summary.conversation.malformed_events == 2
    assert held.model.function_outputs == []


# ---- too late


@pytest.mark.edge_case(51)
@pytest.mark.parametrize("heard_s", [0.5, 2.5])
def test_what_a_tool_result_led_to_is_overtaken_like_anything_else(heard_s: float) -> None:
    """The reply about the result is there long before the sentence in front of it was heard."""
    shop = Shop()
    script = [*ASK[:2], BargeIn(STOP, heard_s), WaitUntilQuiet(2.0, 20.0)]
    replies = [reply(1.0, 1), reply(2.0, 2, HOURS), reply(4.0, 3), reply(1.5, 4)]
    held = call(script, replies, agent=shop.agent, behaviour=Behaviour(pace=30.0))
    check(held)
    assert shop.asked == ["north"]
    _, sentence, about, answer = held.model.responses
    cut = [truncate.item_id for truncate in held.model.truncates]
    assert about.items[0].id in cut
    assert (sentence.items[0].id in cut) is (heard_s < 2.0)
    assert held.was_heard(answer)


@pytest.mark.edge_case(51)
def test_a_result_that_comes_after_the_interruption_is_told_and_asked_about_in_its_turn() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1"), function_call("c1"), done("r1"))
    rig(wire.SpeechStarted("u1", 0), Interrupted(1, 1, "r1"))
    rig(BargeInConfirmed(1, (HeardItem("i1", 0, 40),)))
    assert rig(ToolReturned("c1", "1")) == [SendFunctionOutput("c1", "1")], "not while he speaks"
    rig(wire.SpeechStopped("u1", 900), wire.InputCommitted("u1"))
    (create,) = only(SendCreate, rig.after(0.01))
    active = "conversation_already_has_active_response"
    rig(wire.ErrorReceived(active, None, "", None, create.event_id))
    rig(created("r2"), delta("r2"))
    assert only(SendCreate, rig.after(5.0)) == [], "the new turn is being answered"
    (again,) = only(SendCreate, rig(done("r2")))
    assert again.wanted.purpose == create.wanted.purpose
    rig(created("r3", again.event_id), delta("r3", "i3"), done("r3"))
    assert rig.after(60.0) == []


@pytest.mark.edge_case(51, 74)
def test_a_result_that_comes_when_the_session_is_gone_goes_nowhere() -> None:
    """Its function call belongs to a conversation that no other session knows."""
    rig = Rig()
    rig.live()
    rig(created("r1"), function_call("c1"), done("r1"))
    rig(ModelClosed(EndCause.MODEL_LOST, ""))
    assert rig(ToolReturned("c1", "1")) == []
    assert rig.after(60.0) == []


@pytest.mark.edge_case(51, 66)
def test_a_model_that_is_lost_while_its_tool_runs_is_told_nothing_and_asked_nothing() -> None:
    shop = Shop()
    lost = CloseSocket(AtResponseDone(2), 1011)
    replies = [REPLIES[0], Reply(function_calls=(HOURS,)), REPLIES[2]]
    held = call(ASK, replies, lost, agent=replace(shop.agent, farewell=FAREWELL))
    assert shop.asked == ["north"]
    assert held.model.function_outputs == []
    assert len(held.model.creates) == 1, "the greeting"
    assert held.summary.end_cause is EndCause.MODEL_LOST
    assert heard(held) == REPLIES[0].audio + FAREWELL
