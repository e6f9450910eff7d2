"""Whole calls on bad input; and the proof that what these tests look for would be found."""

from __future__ import annotations

import dataclasses
import gc
import tracemalloc
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from callengine.actors import realtime_bridge
from callengine.machines import playout, tools
from callengine.machines.conversation import Conversation
from callengine.machines.inbound import Inbound
from callengine.messages import EndCause
from callengine.wire import realtime_client, twilio
from callengine.wire import realtime_events as ai
from tests.fuzz import seeds
from tests.fuzz.calls import FuzzedCall, call
from tests.fuzz.floods import FLOODS, flood
from tests.fuzz.script import Script, Step, What, read, written
from tests.fuzz.script_mutation import mutated_call
from tests.fuzz.targets import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.summary import CallSummary

GOOD = seeds.calls()
MESSAGES = 3_000
ROUNDS = 1_200
LONG = {"an_hour_in_a_second", "an_hour_between_frames", "audio_behind_an_interruption"}


def hold(script: Script, seed: int = 0) -> CallSummary:
    with FuzzedCall(seed) as held:
        held.play(script)
        return held.conclude()


def spoilt(seed: int) -> Script:
    rng = Random(seed)
    return mutated_call(rng, rng.choice(GOOD), GOOD)


def test_everything_holds_for_thousands_of_bad_messages() -> None:
    handled = seed = 0
    while handled < MESSAGES:
        handled += call(written(spoilt(seed)))
        seed += 1


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_counted_and_costs_no_memory(name: str) -> None:
    rounds = ROUNDS // 10 if name in LONG else ROUNDS
    with FuzzedCall() as held:
        held.play(flood(name, rounds))
        assert held.handled > rounds
        held.conclude()


def test_good_calls_have_nothing_to_complain_about() -> None:
    for script in GOOD:
        summary = hold(script)
        assert summary.end_cause in {EndCause.CALLER_HUNG_UP, EndCause.MODEL_FAILED}
        assert summary.inbound.malformed == {}
        assert (summary.conversation.malformed_events, summary.conversation.unknown_events) == (
            0,
            0,
        )


def test_good_calls_go_through_another_session_as_well() -> None:
    assert max(hold(script).model_reconnects for script in GOOD) == 1


def test_after_a_bad_call_the_next_one_is_held_as_ever() -> None:
    before = hold(GOOD[1])
    for seed in range(20):
        call(written(spoilt(seed)))
    assert hold(GOOD[1]) == before
    assert before.tx_frames == 40


def test_the_same_input_is_the_same_call() -> None:
    script = spoilt(7)
    assert read(written(script)) == script
    assert hold(script, 7) == hold(read(written(script)), 7)


def test_calls_leave_nothing_in_memory() -> None:
    def hold_some() -> int:
        for seed in range(6):
            call(written(spoilt(seed)))
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    hold_some()  # what is cached once is cached now
    tracemalloc.start()
    try:
        # The interpreter keeps small tuples for later: ever fewer new ones with each round.
        *_, before, _, _, after = [hold_some() for _ in range(8)]
    finally:
        tracemalloc.stop()
    assert after - before < 50_000, "the actors of one call alone are more than that"


# ---- what is looked for is found


def _crash_on_a_key(patch: pytest.MonkeyPatch) -> None:
    def handle(machine: Inbound, event: object, now: float) -> Any:  # noqa: ANN401
        assert not isinstance(event, twilio.Dtmf)
        return take(machine, event, now)  # type: ignore[arg-type]

    take = Inbound.handle
    patch.setattr(Inbound, "handle", handle)


def _lose_unknown_messages(patch: pytest.MonkeyPatch) -> None:
    def handle(machine: Inbound, event: object, now: float) -> Any:  # noqa: ANN401
        known = not isinstance(event, twilio.Unknown)
        return take(machine, event, now) if known else []  # type: ignore[arg-type]

    take = Inbound.handle
    patch.setattr(Inbound, "handle", handle)


def _lose_a_byte_of_every_delta(patch: pytest.MonkeyPatch) -> None:
    def handle(machine: Conversation, event: object, now: float) -> Any:  # noqa: ANN401
        if isinstance(event, ai.AudioDelta):
            event = dataclasses.replace(event, audio=event.audio[1:])
        return take(machine, event, now)  # type: ignore[arg-type]

    take = Conversation.handle
    patch.setattr(Conversation, "handle", handle)


def _flood_the_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(realtime_bridge, "MAX_KINDS_LOGGED", 10**9)


def _remember_every_item(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(playout, "MAX_ITEMS", 10**9)


def _remember_every_tool_call(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tools, "MAX_PENDING", 10**9)
    patch.setattr(tools.ToolCalls, "returned", lambda *_: False)


def _send_a_frame_with_an_extra_field(patch: pytest.MonkeyPatch) -> None:
    encode = twilio.encode_mark
    patch.setattr(twilio, "encode_mark", lambda *some: encode(*some)[:-1] + ',"x":1}')


def _ask_for_a_session_with_an_extra_field(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        realtime_client,
        "encode_session_update",
        lambda event_id, *_, **__: (
            f'{{"type":"session.update","event_id":"{event_id}","session":{{"voice":"marin"}}}}'
        ),
    )


PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], str, Script]] = [
    (_crash_on_a_key, "actor crashed", GOOD[0]),
    (
        _lose_unknown_messages,
        "unknown messages",
        [*seeds.Caller().opens(), Step(What.CARRIER, '{"event":"x"}')],
    ),
    (_lose_a_byte_of_every_delta, "model audio", GOOD[0]),
    (_flood_the_log, "log records", flood("unknown_kinds", 100)),
    (_remember_every_item, "items has", flood("items_of_one_byte", 600)),
    (_remember_every_tool_call, "_deadlines has", flood("tools", 600)),
    (_send_a_frame_with_an_extra_field, "links.py.*in send", GOOD[0]),
    (_ask_for_a_session_with_an_extra_field, "Refusal", GOOD[0]),
]


@pytest.mark.parametrize(
    ("plant", "told", "script"), PLANTED, ids=[plant.__name__[1:] for plant, _, _ in PLANTED]
)
def test_a_planted_fault_is_found(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    told: str,
    script: Script,
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError, match=told):
        call(written(script))


def test_spoiling_a_call_is_repeatable() -> None:
    target = TARGETS["call"]
    assert target.spoil(Random(3), target.good[0]) == target.spoil(Random(3), target.good[0])
