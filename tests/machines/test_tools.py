from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.tools import MAX_PENDING, MAX_REMEMBERED, TOOL_DEADLINE_S, ToolCalls
from callengine.messages import ToolCalled, ToolReturned
from tests.machines.conversation_rig import function_call


def test_a_call_is_run_once_however_often_it_is_told() -> None:
    """C-A 50."""
    tools = ToolCalls()
    assert tools.called(function_call("c1"), 0.0) == ToolCalled("c1", "book", '{"day":1}')
    assert tools.called(function_call("c1"), 0.0) is None
    assert tools.returned(ToolReturned("c1", "1"))
    assert tools.called(function_call("c1"), 0.0) is None
    assert tools.counts.tool_calls == 1


def test_calls_are_pending_until_they_have_all_returned() -> None:
    """C-A 49."""
    tools = ToolCalls()
    pending = [tools.pending]
    tools.called(function_call("c1"), 0.0)
    tools.called(function_call("c2"), 0.0)
    tools.returned(ToolReturned("c2", "2"))
    pending.append(tools.pending)
    tools.returned(ToolReturned("c1", "1"))
    assert [*pending, tools.pending] == [False, True, False]
    assert tools.next_deadline() is None


def test_a_result_is_taken_once() -> None:
    tools = ToolCalls()
    tools.called(function_call("c1"), 0.0)
    assert tools.returned(ToolReturned("c1", "1"))
    assert not tools.returned(ToolReturned("c1", "1"))
    assert not tools.returned(ToolReturned("never called", "1"))
    assert tools.counts.tool_results_late == 2


def test_l13_a_tool_is_answered_for_at_its_deadline_and_a_late_result_is_refused() -> None:
    """C-A 51."""
    tools = ToolCalls()
    tools.called(function_call("c1"), 1.0)
    tools.called(function_call("c2"), 2.0)
    assert tools.next_deadline() == 1.0 + TOOL_DEADLINE_S
    assert tools.expire(0.9 + TOOL_DEADLINE_S) == []
    (answer,) = tools.expire(1.0 + TOOL_DEADLINE_S)
    assert answer.call_id == "c1"
    assert json.loads(answer.output) == {"error": "the tool did not answer in time"}
    assert tools.next_deadline() == 2.0 + TOOL_DEADLINE_S
    assert tools.counts.tool_timeouts == 1
    assert not tools.returned(ToolReturned("c1", "1"))


def test_calls_beyond_the_bound_are_answered_with_an_error_at_once() -> None:
    tools = ToolCalls()
    for number in range(MAX_PENDING):
        tools.called(function_call(f"c{number}"), 0.0)
    answer = tools.called(function_call("one too many"), 0.0)
    assert isinstance(answer, ToolReturned)
    assert json.loads(answer.output) == {"error": "too many tools are running"}
    assert tools.called(function_call("one too many"), 0.0) is None
    assert tools.counts.tool_calls_refused == 1
    tools.returned(ToolReturned("c0", "1"))
    assert isinstance(tools.called(function_call("next"), 0.0), ToolCalled)


def test_the_memory_of_calls_is_bounded() -> None:
    tools = ToolCalls()
    for number in range(MAX_REMEMBERED + 1):
        tools.called(function_call(f"c{number}"), 0.0)
        tools.returned(ToolReturned(f"c{number}", "1"))
    assert tools.called(function_call("c1"), 0.0) is None
    assert tools.called(function_call("c0"), 0.0) is not None


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["call", "return", "wait"]))))
def test_every_call_is_answered_exactly_once(steps: list[tuple[str, str]]) -> None:
    tools, now = ToolCalls(), 0.0
    run: list[str] = []
    answered: list[str] = []
    for call_id, step in steps:
        if step == "call" and isinstance(tools.called(function_call(call_id), now), ToolCalled):
            run.append(call_id)
        if step == "return" and tools.returned(ToolReturned(call_id, "1")):
            answered.append(call_id)
        if step == "wait":
            now += TOOL_DEADLINE_S / 2
            answered += [result.call_id for result in tools.expire(now)]
    answered += [result.call_id for result in tools.expire(now + TOOL_DEADLINE_S)]
    assert sorted(run) == sorted(answered) == sorted(set(run))
