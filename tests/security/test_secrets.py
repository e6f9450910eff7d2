"""What of a call is in no record, no repr and no error, whatever level the host logs at."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pytest
from loguru import logger

from callengine import Agent, Settings
from callengine.agent import Tool
from callengine.messages import (
    AgentSaid,
    CallerSaid,
    DtmfPressed,
    StreamStarted,
    ToolCalled,
    ToolReturned,
)
from callengine.security.tickets import Ticket
from callengine.testing import Dial, Say, ToolCall, WaitUntilQuiet
from callengine.testing.held import reply
from tests.edge_cases.carrier_calls import ANSWERED, GREETED, QUESTION, call

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY, TOKEN, PASSWORD = "sk-0penai", "tw1liotoken", "p0stgres"
NUMBER, DIGITS, SAID, ARGUMENT = "+15551234567", "493827165", "Some words of it.", "jane doe"


@pytest.fixture
def lines() -> Iterator[list[str]]:
    written: list[str] = []
    layout = "{level} {name} {message} {extra} {exception}"
    sink = logger.add(written.append, level=0, format=layout, diagnose=True, backtrace=True)
    logger.enable("callengine")
    yield written
    logger.disable("callengine")
    logger.remove(sink)


def test_a_call_in_which_everything_fails_leaves_nothing_of_it_in_the_log(
    lines: list[str],
) -> None:
    def fail(*told: object) -> NoReturn:
        raise LookupError(f"{told} {KEY} {NUMBER}")

    look_up = Tool("look_up", "Finds a person.", {"type": "object"}, fail)
    spoken = reply(1.0, 2, ToolCall("look_up", json.dumps({"name": ARGUMENT})))
    held = call(
        [GREETED, Dial(DIGITS), Say(QUESTION), ANSWERED, WaitUntilQuiet(1.0, 20.0)],
        replies=[reply(1.0, 1), spoken, reply(1.0, 3), reply(1.0, 4)],
        agent=Agent(tools=(look_up,), on_event=fail),
        settings=Settings(
            openai_api_key=KEY, twilio_auth_token=TOKEN, database_url=f"postgresql://u:{PASSWORD}@h"
        ),
        start_overrides={"customParameters": {"caller": NUMBER, "ticket": TOKEN}},
    )
    assert held.summary.tools.tool_calls == 1
    assert held.summary.context_errors > len(DIGITS)
    text = "".join(lines)
    assert "call started" in text
    assert "host code failed" in text
    for secret in (KEY, TOKEN, PASSWORD, NUMBER, NUMBER[1:], DIGITS, SAID, ARGUMENT):
        assert secret not in text


@pytest.mark.parametrize(
    "message",
    [
        StreamStarted("MZ1", "CA1", {"ticket": "secret"}, "AC1", "secret", "secret"),
        DtmfPressed("secret"),
        CallerSaid("item_1", "secret"),
        AgentSaid("item_1", "secret"),
        ToolCalled("call_1", "look_up", "secret"),
        ToolReturned("call_1", "secret"),
        Ticket("CA1", "secret", "secret"),
        replace(
            Settings(),
            openai_api_key="secret",
            twilio_auth_token="secret",
            database_url="postgresql://u:secret@h/d",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_nobodys_business_is_not_in_a_repr(message: object) -> None:
    assert "secret" not in repr(message)
