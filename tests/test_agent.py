from __future__ import annotations

import pytest

from callengine.agent import DEFAULT_GREETING, Agent, Tool, VadConfig
from callengine.errors import SettingsError
from callengine.wire.realtime_client import SessionConfig, ToolSpec


def book(day: str) -> str:
    return f"booked {day}"


PARAMETERS = {"type": "object", "properties": {"day": {"type": "string"}}}
BOOK = Tool("book", "Book a visit.", PARAMETERS, book)


def test_an_agent_needs_nothing_and_greets_under_protection() -> None:
    agent = Agent()
    assert agent.greeting == DEFAULT_GREETING
    assert agent.greeting_protected
    assert agent.session_config() == SessionConfig(
        agent.instructions, "marin", VadConfig(), "gpt-transcribe"
    )


def test_the_session_is_configured_with_all_the_agent_says() -> None:
    vad = VadConfig("semantic_vad", eagerness="low")
    agent = Agent(
        instructions="Sell tea.",
        voice="cedar",
        tools=(BOOK,),
        vad=vad,
        transcription_model=None,
        language="de",
        max_output_tokens=100,
    )
    assert agent.session_config() == SessionConfig(
        instructions="Sell tea.",
        voice="cedar",
        vad=vad,
        transcription_model=None,
        language="de",
        tools=(ToolSpec("book", "Book a visit.", PARAMETERS),),
        max_output_tokens=100,
    )


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(SettingsError, match="same name"):
        Agent(tools=(BOOK, Tool("book", "Another.", {}, book)))


def test_the_farewell_is_in_no_repr() -> None:
    assert "audio" not in repr(Agent(farewell=b"audio" * 1000))
