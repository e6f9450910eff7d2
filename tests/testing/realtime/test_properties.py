"""Whatever a client does, the simulated server keeps the rules its clients may rely on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.audio import g711
from callengine.testing import speech
from callengine.testing.realtime.script import Behaviour, CancelStyle, Reply, Speech, ToolCall
from tests.openai_types import validate_server
from tests.testing.realtime.rig import SHORT_REPLY, Talk, turn_detection

if TYPE_CHECKING:
    from collections.abc import Callable

WORDS = speech.clip("caller_yes")
REPLIES = (
    SHORT_REPLY,
    Reply(WORDS, "Yes.", (ToolCall("f"),), (Speech(WORDS, "And yes."),)),
    Reply(transcript="Nothing to hear."),
    Reply(),
)

DEEDS: dict[str, Callable[[Talk], object]] = {
    "create": lambda talk: talk.create(),
    "create aside": lambda talk: talk.create(conversation="none"),
    "cancel": lambda talk: talk.say("response.cancel"),
    "cancel first": lambda talk: talk.say("response.cancel", response_id="resp_sim0001"),
    "truncate": lambda talk: talk.say(
        "conversation.item.truncate", item_id="item_sim_a1", content_index=0, audio_end_ms=100
    ),
    "delete": lambda talk: talk.say("conversation.item.delete", item_id="item_sim_a1"),
    "speak": lambda talk: talk.append(WORDS),
    "hush": lambda talk: talk.append(g711.silence(500)),
    "commit": lambda talk: talk.say("input_audio_buffer.commit"),
    "clear": lambda talk: talk.say("input_audio_buffer.clear"),
    "let finish": lambda talk: talk.say(
        "session.update", session=turn_detection(interrupt_response=False)
    ),
    "wait a bit": lambda talk: talk.wait(0.03),
    "wait": lambda talk: talk.wait(0.4),
}
MANNERS = st.builds(
    Behaviour,
    deltas_in_flight=st.integers(0, 3),
    cancel_style=st.sampled_from(CancelStyle),
    cancel_races_completion=st.booleans(),
    latency_s=st.sampled_from([0.0, 0.05]),
)


def owner(event: dict[str, Any]) -> str | None:
    """The response an event belongs to."""
    found: str | None = event.get("response_id") or event.get("response", {}).get("id")
    return found


@given(st.lists(st.sampled_from(sorted(DEEDS)), max_size=25), MANNERS)
@settings(max_examples=150, deadline=None)
def test_whatever_a_client_does_the_rules_hold(deeds: list[str], behaviour: Behaviour) -> None:
    talk = Talk(REPLIES, behaviour)
    for deed in deeds:
        DEEDS[deed](talk)
    talk.wait(10)
    for event in talk.events:
        validate_server(event)
    active: set[str] = set()
    for made in talk.record.responses:
        mine = [event["type"] for event in talk.events if owner(event) == made.id]
        assert mine[0] == "response.created"
        assert mine[-1] == "response.done"
        assert mine.count("response.created") == mine.count("response.done") == 1
        assert talk.audio(made.id) == made.audio
    in_band = {made.id for made in talk.record.responses if not made.out_of_band}
    for event in talk.events:
        if event["type"] == "response.created" and owner(event) in in_band:
            assert not active
            active.add(event["response"]["id"])
        elif event["type"] == "response.done":
            active.discard(event["response"]["id"])
    assert all(earlier <= later for earlier, later in pairwise(talk.times))
    assert len(talk.record.errors) == len(talk.all_of("error"))
