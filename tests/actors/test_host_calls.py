"""HostCalls: the host's code runs here, and nothing it does gets out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from callengine.actors.host_calls import HostCalls
from callengine.actors.shell import Report
from callengine.agent import Agent, Tool
from callengine.messages import (
    AgentSaid,
    BeginAnew,
    CallerSaid,
    DtmfPressed,
    HostEvent,
    ReportRequest,
    ToolCalled,
    ToolReturned,
)
from callengine.reports import HostCounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.actors.rig import Rig

SECRET = "my card number is 4111"


def tool(name: str, function: Callable[..., object]) -> Tool:
    return Tool(name, "", {"type": "object"}, function)


def broken(**_: object) -> object:
    raise LookupError(SECRET)


TOOLS = (
    tool("add", lambda a, b: a + b),
    tool("hours", lambda: {"open": "9:00", "days": ["Mon", "Tue"]}),
    tool("nothing", lambda: None),
    tool("greek", lambda: "ποτέ \u2028"),
    tool("broken", broken),
    tool("opaque", object),
    tool("lonely", lambda: "\ud800"),
)


def place(rig: Rig, on_event: Callable[[HostEvent], None] | None = None) -> None:
    agent = Agent(tools=TOOLS, on_event=on_event)
    rig.place("host_calls", HostCalls.start(rig.stepper, rig.log, agent))


def result(rig: Rig, name: str, arguments: str = "{}") -> Any:  # noqa: ANN401 - JSON
    rig.tell(ToolCalled("call_1", name, arguments))
    (returned,) = rig.told("bridge")
    assert isinstance(returned, ToolReturned)
    assert returned.call_id == "call_1"
    return json.loads(returned.output)


def context_errors(rig: Rig) -> int:
    rig.tell(ReportRequest())
    (report,) = rig.told("supervisor")
    assert report == Report("HostCalls", report.counts)
    assert isinstance(report.counts, HostCounts)
    return report.counts.context_errors


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("add", '{"a": 2, "b": 3}', 5),
        ("hours", "{}", {"open": "9:00", "days": ["Mon", "Tue"]}),
        ("hours", "", {"open": "9:00", "days": ["Mon", "Tue"]}),
        ("nothing", "{}", None),
        ("greek", "{}", "ποτέ \u2028"),
    ],
)
def test_a_tool_gets_its_arguments_and_its_result_goes_back(
    rig: Rig, name: str, arguments: str, expected: object
) -> None:
    place(rig)
    assert result(rig, name, arguments) == expected
    assert context_errors(rig) == 0


@pytest.mark.parametrize(
    "arguments", ['{"a": 2, "b', "[1, 2]", '"ab"', "null", '{"a": ' * 100_000, "9" * 5000]
)
def test_arguments_that_are_no_object_are_the_models_fault(rig: Rig, arguments: str) -> None:
    """C-A 50."""
    place(rig)
    assert "error" in result(rig, "add", arguments)
    assert context_errors(rig) == 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("broken", "{}"),
        ("opaque", "{}"),  # its result is not JSON
        ("add", '{"a": 2}'),  # an argument is missing
        ("add", '{"a": 2, "b": 3, "c": 4}'),
    ],
)
def test_a_tool_that_fails_is_answered_for_counted_and_logged(
    rig: Rig, name: str, arguments: str
) -> None:
    place(rig)
    assert "error" in result(rig, name, arguments)
    assert context_errors(rig) == 1
    ((level, text, values),) = rig.logged()
    assert (level, text, values["what"]) == ("WARNING", "host code failed", f"tool {name}")
    assert result(rig, "add", '{"a": 2, "b": 3}') == 5


def test_neither_log_nor_model_learns_what_the_error_said(rig: Rig) -> None:
    place(rig)
    assert SECRET not in str(result(rig, "broken", json.dumps({"number": SECRET})))
    assert "broken" in rig.logged()[0][2]["stack"]
    assert SECRET not in str(rig.records[0]) + str(rig.logged())


def test_a_tool_nobody_has_is_the_models_mistake(rig: Rig) -> None:
    place(rig)
    assert result(rig, "teleport") == {"error": "there is no tool named 'teleport'"}
    assert context_errors(rig) == 0


def test_a_result_that_is_no_text_for_a_socket_is_escaped(rig: Rig) -> None:
    place(rig)
    rig.tell(ToolCalled("call_1", "lonely", "{}"))
    (returned,) = rig.told("bridge")
    returned.output.encode()  # a lone surrogate would break the socket's writer


def test_the_host_is_told_what_happens(rig: Rig) -> None:
    heard: list[HostEvent] = []
    place(rig, heard.append)
    events = [DtmfPressed("5"), CallerSaid("i1", "hello"), AgentSaid("i2", "good morning")]
    rig.tell(*events)
    assert heard == events
    assert rig.told_to_all() == {}


def test_a_host_that_fails_to_listen_is_told_the_next_thing_all_the_same(rig: Rig) -> None:
    heard: list[HostEvent] = []

    def listen(event: HostEvent) -> None:
        heard.append(event)
        raise LookupError(SECRET)

    place(rig, listen)
    rig.tell(DtmfPressed("5"), DtmfPressed("6"))
    assert heard == [DtmfPressed("5"), DtmfPressed("6")]
    assert context_errors(rig) == 2
    assert SECRET not in str(rig.records[0])


def test_a_host_that_does_not_listen_is_not_told(rig: Rig) -> None:
    place(rig)
    rig.tell(DtmfPressed("5"))
    assert context_errors(rig) == 0


def test_a_host_that_wants_to_leave_the_process_does_not_even_leave_the_call(rig: Rig) -> None:
    def leave(_: HostEvent) -> None:
        raise SystemExit(0)

    place(rig, leave)
    rig.tell(DtmfPressed("5"))
    assert rig.told("supervisor") == []
    assert context_errors(rig) == 1


@pytest.mark.parametrize("error", [ValueError(), SystemExit(), MemoryError(), KeyboardInterrupt()])
@pytest.mark.parametrize("name", ["broken", "on_event"])
def test_whatever_the_hosts_code_raises_costs_the_call_nothing(
    rig: Rig, error: BaseException, name: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    agent = Agent(tools=(tool("broken", fail), TOOLS[0]), on_event=fail)
    rig.place("host_calls", HostCalls.start(rig.stepper, rig.log, agent))
    if name == "broken":
        assert "error" in result(rig, name)
    else:
        rig.tell(DtmfPressed("5"))
    assert result(rig, "add", '{"a": 2, "b": 3}') == 5
    assert context_errors(rig) == 1


def test_a_tool_call_that_is_lost_is_answered_at_once_and_those_that_waited_are_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(rig)
    with monkeypatch.context() as patched:

        def run(*_: object) -> None:
            raise MemoryError

        patched.setattr(HostCalls, "_run", run)
        rig.tell(ToolCalled("call_1", "hours", "{}"), ToolCalled("call_2", "nothing", "{}"))
    (lost,) = rig.told("bridge")
    assert lost.call_id == "call_1"
    assert json.loads(lost.output) == {"error": "the tool was lost"}
    rig.tell(BeginAnew())
    assert rig.told("bridge") == [ToolReturned("call_2", "null")]
