"""What holds of a conversation whatever the model, the caller and the clock do, in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.response import SendCancel, SendCreate, State
from callengine.machines.session import SendTurnDetection
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    HeardItem,
    Interrupted,
    PlayAudio,
    ResponseHeard,
    ToolCalled,
    ToolReturned,
)
from callengine.wire import realtime_events as wire
from tests.machines.conversation_rig import GREETING, Rig, created, delta, done, error

if TYPE_CHECKING:
    from callengine.machines.conversation_terms import Action, Event

RESPONSES = st.sampled_from(["r1", "r2", "r3"])
ITEMS = st.sampled_from(["i1", "i2"])
HEARD = st.builds(HeardItem, st.just("r1-i1"), st.just(0), st.integers(0, 9999))


@dataclass
class Playout:
    """Interruptions come from one place: each has its verdict before the next."""

    generation: int = 0
    open: bool = False

    def event(self, draw: st.DataObject) -> Event:
        if self.open:
            self.open = False
            heard = draw.draw(st.lists(HEARD, max_size=1))
            verdicts: list[Event] = [
                BargeInConfirmed(self.generation, tuple(heard)),
                BargeInDismissed(),
            ]
            return draw.draw(st.sampled_from(verdicts))
        self.generation += 1
        self.open = draw.draw(st.booleans())
        if self.open:
            return Interrupted(self.generation, self.generation, "r1")
        return CallerSpoke(self.generation)


class Judge(Rig):
    """A conversation that is watched: it keeps books of its own."""

    def __init__(self, greeting: str | None, *, protected: bool) -> None:
        super().__init__(greeting, protected=protected)
        self.received: Counter[str] = Counter()
        self.forwarded = 0
        self.truncated: set[str] = set()
        self.tools_run: set[str] = set()
        self.turn_detections = 0

    def __call__(self, *events: Event) -> list[Action]:
        for event in events:
            if isinstance(event, wire.AudioDelta):
                self.received[event.item_id] += len(event.audio)
        actions = super().__call__(*events)
        for action in actions:
            self.judge(action)
        return actions

    def judge(self, action: Action) -> None:
        match action:
            case PlayAudio():
                self.forwarded += len(action.audio)
                held = self.machine.slot.cancels(action.response_id)
                assert held or self.machine.slot.accepts(action.response_id)
            case SendTruncate(item_id, _, audio_end_ms):
                assert 0 <= audio_end_ms * 8 <= self.received[item_id], "L3"
                assert item_id not in self.truncated, "L3: twice"
                self.truncated.add(item_id)
            case SendCancel(_, response_id):
                assert self.machine.slot.cancels(response_id), "L4"
            case SendCreate():
                assert self.machine.slot.state is State.REQUESTED, "L5"
            case ToolCalled(call_id):
                assert call_id not in self.tools_run, "run twice"
                self.tools_run.add(call_id)
            case SendTurnDetection():
                self.turn_detections += 1


def model_event(draw: st.DataObject) -> Event:
    response_id = draw.draw(RESPONSES)
    item_id = f"{response_id}-{draw.draw(ITEMS)}"  # an item belongs to one response
    call = wire.FunctionCall(response_id, "f", f"{response_id}-c", "book", "{}")
    answers = draw.draw(st.sampled_from([None, "create-1", "create-2"]))
    codes: list[str | None] = [
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        None,
    ]
    events: list[Event] = [
        created(response_id, answers),
        created(response_id, apart=True),
        delta(response_id, item_id, draw.draw(st.sampled_from([0, 1, 100]))),
        done(response_id, draw.draw(st.sampled_from(["completed", "cancelled", "failed"]))),
        done(response_id, calls=(call,)),
        call,
        ToolReturned(call.call_id, "1"),
        ResponseHeard(response_id),
        wire.InputCommitted("u1"),
        error(draw.draw(st.sampled_from(codes)), answers),
    ]
    return draw.draw(st.sampled_from(events))


@settings(deadline=None)
@given(st.data(), st.sampled_from([None, GREETING]), st.booleans())
def test_l3_l4_l5_l11_hold_whatever_comes(
    draw: st.DataObject, greeting: str | None, protected: bool
) -> None:
    rig = Judge(greeting, protected=protected)
    rig.live()
    playout = Playout()
    for _ in range(draw.draw(st.integers(0, 30))):
        rig(playout.event(draw) if draw.draw(st.integers(0, 4)) == 0 else model_event(draw))
        rig.after(draw.draw(st.sampled_from([0.0, 0.0, 0.6, 3.0])))
        counts = rig.machine.counts
        assert counts.audio_bytes == sum(rig.received.values())
        assert counts.audio_bytes == rig.forwarded + (
            counts.dropped_cancelled_bytes
            + counts.dropped_out_of_band_bytes
            + counts.dropped_unknown_bytes
        ), "L11"
    rig.after(120.0)  # every cancel, every tool and every wish comes to its end
    assert rig.machine.slot.state in {State.IDLE, State.GENERATING}
    assert not rig.machine.tools.pending
    assert rig.turn_detections <= 1
