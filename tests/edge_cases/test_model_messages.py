"""Messages that a model should not send, and the errors that it may."""

from __future__ import annotations

import json

import pytest

from callengine import EndCause
from callengine.machines.conversation import MAX_ERROR_CODES
from callengine.machines.response import State
from callengine.messages import Interrupted
from callengine.testing import Behaviour
from callengine.testing.caller.script import Wait
from callengine.testing.held import Held, noise
from callengine.testing.realtime.faults import (
    After,
    AtAppend,
    AtResponse,
    AtResponseDone,
    Fault,
    SendRaw,
    Trigger,
    beta_names,
    delta_message,
    error_message,
    event_message,
)
from callengine.wire import realtime_events as wire
from tests.edge_cases.model_calls import ASK, FAREWELL, REPLIES, call, check, heard
from tests.machines.conversation_rig import Rig, created, delta, done
from tests.wire.golden_frames import replaced, without
from tests.wire.test_realtime_server import SERVER, required_of

SPEAKING = AtResponse(2, 500)


def nothing_changed(held: Held) -> bool:
    """Both replies were heard whole, nothing was repeated, cut or reset."""
    check(held)
    said = b"".join(response.audio for response in held.model.responses)
    recovered = held.summary.response.retries + held.summary.stuck_recoveries
    return heard(held) == said and len(held.model.responses) == 2 and not recovered


def told(*messages: str | bytes, at: Trigger = SPEAKING) -> Held:
    """A call with these messages in it."""
    return call(ASK, REPLIES, *(SendRaw(at, message) for message in messages))


# ---- malformed


def lacking_something() -> list[str]:
    """Every event we read, without each field that we need, and with null in its place."""
    events = {name: frame for name, frame in SERVER.items() if frame["type"] != "error"}
    pairs = [(frame, path) for name, frame in events.items() for path in required_of(name)]
    broken = [without(frame, path) for frame, path in pairs]
    broken += [replaced(frame, path, None) for frame, path in pairs]
    return [json.dumps(frame) for frame in broken]


@pytest.mark.edge_case(70)
@pytest.mark.parametrize("at", [SPEAKING, AtResponseDone(2), After(0.005)], ids=type)
def test_events_that_lack_what_they_need_are_counted_and_cost_nothing(at: Trigger) -> None:
    messages = lacking_something()
    held = told(*messages, at=at)
    assert nothing_changed(held)
    assert held.summary.conversation.malformed_events == len(messages) > 60


@pytest.mark.edge_case(70)
def test_messages_that_are_no_events_are_counted_and_cost_nothing() -> None:
    messages: list[str | bytes] = [
        "",
        "not json",
        "null",
        "[]",
        "7",
        '"response.done"',
        '{"type":',
        '{"type":null}',
        '{"type":{}}',
        '{"type":"response.done","response":NaN}',
        '{"a":' * 100_000,
        "9" * 5_000,
        b"\xff\xfe\x00",
        b"\x00" * 1_000,
    ]
    held = told(*messages)
    assert nothing_changed(held)
    assert held.summary.conversation.malformed_events == len(messages)


@pytest.mark.edge_case(70)
def test_a_binary_message_with_an_event_in_it_is_an_event() -> None:
    held = told(event_message("response.hologram").encode())
    assert nothing_changed(held)
    assert held.summary.conversation.unknown_events == 1


@pytest.mark.edge_case(70)
def test_identifiers_without_end_are_no_identifiers() -> None:
    """Ids are kept, compared and given back: one of a mebibyte is not worth it."""
    endless = "i" * 2**20
    held = told(
        event_message("response.created", response={"id": endless}),
        delta_message(endless, "item", noise(0.1, 9)),
        delta_message("resp_sim0002", endless, noise(0.1, 9)),
        event_message("response.done", response={"id": endless, "status": "completed"}),
    )
    assert nothing_changed(held)
    assert held.summary.conversation.malformed_events == 4


@pytest.mark.edge_case(70, 71)
@pytest.mark.parametrize(
    "kind",
    [
        "response.cancelled",
        "response.output_item.created",
        "response.hologram.delta",
        "session.closed",
        "k" * 100_000,
        "",
    ],
    ids=lambda kind: kind[:30],
)
def test_an_event_that_does_not_exist_is_counted_and_means_nothing(kind: str) -> None:
    about = {"response_id": "resp_sim0002", "response": {"id": "resp_sim0002"}}
    held = told(*[event_message(kind, **about)] * 3)
    assert nothing_changed(held)
    assert held.summary.conversation.unknown_events == 3


@pytest.mark.edge_case(71)
def test_what_ends_a_cancel_is_done_and_not_an_event_named_cancelled() -> None:
    rig = Rig()
    rig.live()
    rig(created("r1"), delta("r1"), Interrupted(1, 1, "r1"))
    rig(wire.Unknown("response.cancelled"))
    still = rig.machine.slot.state
    rig(done("r1", "cancelled"))
    assert (still, rig.machine.slot.state) == (State.CANCELLING, State.IDLE)


# ---- of another time


@pytest.mark.edge_case(72)
def test_a_model_that_speaks_as_in_the_beta_is_noticed_and_given_up() -> None:
    """There is no adapter: its audio has names that we do not know, so that it says nothing."""
    held = call([*ASK[:2], Wait(30.0)], REPLIES, *beta_names())
    assert held.summary.end_cause is EndCause.MODEL_FAILED
    assert held.summary.end_detail == "the model gave no answer"
    conversation = held.summary.conversation
    assert conversation.silent_responses == 4, "twice the greeting, twice the answer"
    assert conversation.unknown_events > 20
    assert conversation.audio_deltas == 0
    assert heard(held) == FAREWELL
    assert held.caller.closed is not None
    assert held.caller.closed.at - held.model.speech_stopped[-1].at < 6.0


LIMIT = {"name": "tokens", "limit": 40_000, "remaining": 1, "reset_seconds": 3.0}


@pytest.mark.edge_case(73)
@pytest.mark.parametrize("at", [After(0.005), AtAppend(50), SPEAKING], ids=type)
def test_rate_limits_are_noted_whatever_they_say_and_whenever(at: Trigger) -> None:
    """Before any response too. The list may be empty, or be none, and lack all names."""
    lists: list[object] = [[], [LIMIT], [{"limit": 1}], [None], None, {}, "soon"]
    held = told(*(event_message("rate_limits.updated", rate_limits=each) for each in lists), at=at)
    assert nothing_changed(held)
    conversation = held.summary.conversation
    assert conversation.unknown_events == conversation.malformed_events == 0


# ---- errors


HARMLESS = [
    "conversation_already_has_active_response",
    "response_cancel_not_active",
    "invalid_value",
    "unsupported_content_type",
    "item_truncate_invalid_item_id",
    "item_retrieve_invalid_item_id",
    "input_audio_buffer_commit_empty",
    "unknown_parameter",
    "missing_required_parameter",
    "cannot_update_voice",
    "rate_limit_exceeded",
    "inference_rate_limit_exceeded",
    "server_error",
    "model_not_found",
    "something_new",
    None,
]


FATAL = [
    "invalid_api_key",
    "insufficient_quota",
    "account_deactivated",
    "billing_hard_limit_reached",
    "beta_api_shape_disabled",
]


@pytest.mark.edge_case(65)
@pytest.mark.parametrize("code", HARMLESS)
@pytest.mark.parametrize("at", [SPEAKING, AtResponseDone(2)], ids=type)
def test_an_error_that_ends_nothing_is_counted_and_changes_nothing(
    code: str | None, at: Trigger
) -> None:
    """None of them names one of our events."""
    held = told(error_message(code, "Something.", "server_error"), at=at)
    assert nothing_changed(held)
    assert held.summary.conversation.errors == {code or "server_error": 1}


@pytest.mark.edge_case(65)
@pytest.mark.parametrize("code", FATAL)
@pytest.mark.parametrize("at", [After(0.5), SPEAKING], ids=type)
def test_an_error_after_which_nothing_will_come_ends_the_call_politely(
    code: str, at: Trigger
) -> None:
    held = told(error_message(code, "No more."), at=at)
    assert held.summary.end_cause is EndCause.MODEL_REFUSED
    assert code in held.summary.end_detail
    said = b"".join(response.audio for response in held.model.responses)
    assert heard(held) == said + b"\xff" * (-len(said) % 160) + FAREWELL
    assert held.caller.closed is not None
    assert (held.caller.closed.code, held.caller.closed.by) == (1000, "engine")


@pytest.mark.edge_case(65)
@pytest.mark.parametrize(
    ("body", "counted"),
    [
        ({"error": {}}, {"unnamed": 1}),
        ({"error": {"code": None, "type": None, "message": None}}, {"unnamed": 1}),
        ({"error": {"code": 7, "type": [], "event_id": {}}}, {"unnamed": 1}),
        ({"error": {"code": "invalid_value"}}, {"invalid_value": 1}),
        ({"error": {"code": "", "type": "server_error"}}, {"server_error": 1}),
    ],
    ids=["empty", "nulls", "wrong types", "code only", "empty code"],
)
def test_an_error_that_says_little_is_counted(
    body: dict[str, object], counted: dict[str, int]
) -> None:
    held = told(event_message("error", **body))
    assert nothing_changed(held)
    assert held.summary.conversation.errors == counted


@pytest.mark.edge_case(65)
@pytest.mark.parametrize("body", [None, "server broke", [], 7])
def test_an_error_that_is_no_object_is_malformed(body: object) -> None:
    held = told(json.dumps({"type": "error", "error": body}), json.dumps({"type": "error"}))
    assert held.summary.conversation.malformed_events == 2
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert heard(held) == b"".join(response.audio for response in held.model.responses)


@pytest.mark.edge_case(65)
@pytest.mark.parametrize("distinct", [False, True])
def test_a_burst_of_errors_costs_nothing_and_is_counted_in_bounds(distinct: bool) -> None:
    held = told(*(error_message(f"code_{n * distinct}", "No.") for n in range(100)))
    assert nothing_changed(held)
    counted = held.summary.conversation.errors
    assert sum(counted.values()) == 100
    assert len(counted) == (MAX_ERROR_CODES + 1 if distinct else 1)


@pytest.mark.edge_case(65)
@pytest.mark.parametrize("kind", ["response_cancel_not_active", "server_error"])
def test_a_burst_of_errors_in_a_greeting_that_is_asked_for_costs_nothing(kind: str) -> None:
    """They name nobody: no create of ours is taken to be refused."""
    burst: list[Fault] = [SendRaw(After(0.05), error_message(kind, "No."))] * 1
    burst += [SendRaw(After(0.05 + n / 1_000), error_message(kind, "No.")) for n in range(1, 100)]
    held = call(ASK, REPLIES, *burst, behaviour=Behaviour(created_after_s=0.5))
    assert nothing_changed(held)
    assert len(held.model.creates) == 1
