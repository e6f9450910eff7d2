"""The laws of a call, checked on what a simulated caller and a simulated model recorded.

Replies are made of quiet noise in which every few bytes occur once, so that each frame the caller
received tells which response it is of and where in it it belongs.
"""

from __future__ import annotations

import functools
import json
from base64 import b64decode
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pykka

from callengine.audio.g711 import FRAME_BYTES, SAMPLE_RATE_HZ, SILENCE_BYTE
from callengine.machines.response import CANCEL_DEADLINE_S
from callengine.machines.transmission import Outcome
from callengine.testing import Reply, SimulatedCaller, SimulatedRealtime, Simulation, Speech

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.summary import BargeInEntry, CallSummary
    from callengine.testing import CallRecord, Record
    from callengine.testing.realtime.record import ItemRecord, ResponseRecord
    from callengine.testing.realtime.script import ToolCall

FRAME_MS: Final = 20
TRUNCATE_SLACK_MS: Final = 60
"""How much less than was heard the model may be told was heard, beside the line's latency."""

_QUIET_CODES: Final = bytes([*range(0x60, 0x7F), *range(0xE0, 0xFF)])
_EPS: Final = 1e-6


@functools.cache
def noise(seconds: float, seed: int) -> bytes:
    """Mu-law noise far below the level of a voice, without a byte of silence."""
    return bytes(Random(seed).choices(_QUIET_CODES, k=round(seconds * SAMPLE_RATE_HZ)))


def reply(seconds: float, seed: int, *calls: ToolCall, second_item_s: float = 0.0) -> Reply:
    """A reply of that length that is like no other; maybe with a second spoken item."""
    more = (Speech(noise(second_item_s, seed + 50_000), "And more."),) if second_item_s else ()
    return Reply(noise(seconds, seed), "Some words of it.", calls, more)


class Witness(SimulatedCaller):
    """A caller that also notes every message in the order it came."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - the caller's own
        super().__init__(*args, **kwargs)
        self.messages: list[tuple[float, dict[str, Any]]] = []

    def received(self, message: str | bytes, now: float) -> None:
        """See `Peer`."""
        over = self.record.closed is not None
        super().received(message, now)
        if not over:
            self.messages.append((now, json.loads(message)))


@dataclass(frozen=True)
class Frame:
    """A frame the caller received: `audio` of a response from `offset` on, then padding."""

    at: float
    clears: int
    """How many clears had come before it."""
    audio: bytes
    response_id: str = ""
    offset: int = 0

    @property
    def size(self) -> int:
        """Bytes without padding."""
        return len(self.audio)

    @property
    def end(self) -> int:
        """Where the audio behind it begins."""
        return self.offset + len(self.audio)


@dataclass(frozen=True)
class Held:
    """A call that is over."""

    summary: CallSummary
    caller: CallRecord
    model: Record
    messages: Sequence[tuple[float, dict[str, Any]]]
    simulation: Simulation

    @property
    def latency_s(self) -> float:
        """The time a message takes on either line."""
        return self.simulation.latency_s

    @functools.cached_property
    def frames(self) -> list[Frame]:
        """All frames of the model's audio, each found in the response it is of."""
        frames: list[Frame] = []
        clears = 0
        for at, message in self.messages:
            if message["event"] == "clear":
                clears += 1
            elif message["event"] == "media":
                audio = b64decode(message["media"]["payload"]).rstrip(SILENCE_BYTE)
                frames.append(self._placed(Frame(at, clears, audio), frames[-1:]))
        return frames

    def _placed(self, frame: Frame, before: list[Frame]) -> Frame:
        """Where it belongs: behind the one before it, if it could; a tail may be one byte."""
        for last in before:
            if self.audio[last.response_id][last.end : last.end + frame.size] == frame.audio:
                return replace(frame, response_id=last.response_id, offset=last.end)
        for response_id, audio in self.audio.items():
            if (offset := audio.find(frame.audio)) >= 0:
                return replace(frame, response_id=response_id, offset=offset)
        raise AssertionError(f"at {frame.at:.3f} the caller got a frame that is no response's")

    @functools.cached_property
    def audio(self) -> dict[str, bytes]:
        """Response id -> all its audio that was sent."""
        return {response.id: response.audio for response in self.model.responses}

    @functools.cached_property
    def heard(self) -> dict[str, list[int]]:
        """Response id -> the positions of its audio that were heard, in the order of hearing."""
        runs: list[list[tuple[str, int]]] = [[] for _ in range(len(self.caller.clears) + 1)]
        for frame in self.frames:
            spoken = [(frame.response_id, frame.offset + n) for n in range(frame.size)]
            runs[frame.clears] += spoken + [("", 0)] * (FRAME_BYTES - frame.size)
        dropped = [clear.dropped_bytes for clear in self.caller.clears] + [
            self.caller.unheard_bytes
        ]
        heard: dict[str, list[int]] = {response.id: [] for response in self.model.responses}
        for run, lost in zip(runs, dropped, strict=True):
            for response_id, position in run[: len(run) - lost]:
                if response_id:
                    heard[response_id].append(position)
        return heard

    @property
    def interruptions(self) -> list[BargeInEntry]:
        """The onsets that cleared the carrier, in order: the n-th is the n-th clear."""
        executed = [entry for entry in self.summary.barge_ins if entry.barge_in is not None]
        return sorted(executed, key=lambda entry: entry.barge_in or 0)

    @property
    def uninterrupted(self) -> list[ResponseRecord]:
        """The responses that were spoken, that nobody cancelled and no barge-in touched."""
        began = {frame.response_id for frame in self.frames}
        return [
            r
            for r in self.model.responses
            if r.id in began and r.status != "cancelled" and not self._is_cut(r)
        ]

    def _is_cut(self, response: ResponseRecord) -> bool:
        """A clear came after it was made and before the next one was to be heard."""
        later = {r.id for r in self.model.responses if r.number > response.number}
        cuts = zip(self.interruptions, self.caller.clears, strict=True)
        for number, (entry, clear) in enumerate(cuts, 1):
            went_on = any(f.response_id in later for f in self.frames if f.clears < number)
            made_before = (response.created_at or 0.0) < clear.at
            if entry.outcome is not Outcome.RESUMED and made_before and not went_on:
                return True
        return False


def hold(simulation: Simulation) -> Held:
    """Hold a simulated call to its end."""
    caller, model = simulation.caller, simulation.model
    assert isinstance(caller, Witness)
    assert isinstance(model, SimulatedRealtime)
    return Held(simulation.run(), caller.record, model.record, caller.messages, simulation)


# ---- the laws


def nothing_of_an_interrupted_response_is_played_on(held: Held) -> None:
    """L1: after a clear no media of what it cleared, unless the interruption was taken back."""
    for frame in held.frames:
        for earlier in held.interruptions[: frame.clears]:
            if earlier.outcome is not Outcome.RESUMED:
                assert frame.response_id != earlier.response_id, f"{frame.at}: {earlier}"


def marks_carry_the_generation(held: Held) -> None:
    """L2: every mark sent after a clear is of a newer generation than every one before."""
    newest, floor = -1, -1
    for _, message in held.messages:
        if message["event"] == "clear":
            floor = newest
        elif message["event"] == "mark":
            generation = int(message["mark"]["name"].split("-")[0].removeprefix("g"))
            assert generation > floor
            assert generation >= newest
            newest = generation


def truncates_tell_what_was_heard(held: Held) -> None:
    """L3: never more than was received, about as much as was heard."""
    latest = held.latency_s * 1000
    for truncate in held.model.truncates:
        assert truncate.accepted, f"the server refused {truncate}"
        response, item, begin = _item(held, truncate.item_id)
        end = begin + len(item.audio)
        heard = [p for p in held.heard[response.id] if begin <= p < end]
        heard_ms = len(heard) / 8
        assert truncate.audio_end_ms <= len(item.audio) / 8
        assert truncate.audio_end_ms <= heard_ms + FRAME_MS, f"{truncate}: {heard_ms} ms were heard"
        least = heard_ms - TRUNCATE_SLACK_MS - latest
        assert truncate.audio_end_ms >= least, f"{truncate}: {heard_ms} ms were heard"


def what_was_not_heard_is_truncated(held: Held) -> None:
    """L3: the model believes of no item that more of it was heard than was, once it matters."""
    cut = {truncate.item_id for truncate in held.model.truncates}
    for entry in held.interruptions:
        if entry.outcome is not Outcome.ACTED:
            continue
        assert entry.response_id is not None
        response = held.model.response(entry.response_id)
        begin = 0
        for item in response.items:
            end = begin + len(item.audio)
            heard = {p for p in held.heard[response.id] if begin <= p < end}
            if len(heard) + FRAME_MS * 8 < len(item.audio):
                assert item.id in cut, f"{item.id} was heard for {len(heard) / 8} ms only"
            begin = end


def cancels_name_their_response_and_are_resolved(held: Held) -> None:
    """L4."""
    for cancel in held.model.cancels:
        assert cancel.response_id is not None
    for entry in held.interruptions:
        if entry.cancel_sent_s is not None and entry.cancel_resolved_s is not None:
            assert entry.cancel_resolved_s - entry.cancel_sent_s <= CANCEL_DEADLINE_S + _EPS
        if entry.cancel_sent_s is not None and entry.cancel_resolved_s is None:
            assert held.summary.duration_s - entry.cancel_sent_s <= CANCEL_DEADLINE_S + _EPS


def creates_wait_for_the_slot(held: Held) -> None:
    """L5: a create leaves only while, as far as we can know, no response is under way."""
    way_s = held.latency_s
    for create in held.model.creates:
        sent_at = create.at - way_s
        for response in held.model.responses:
            if response.created_at is None or response.out_of_band:
                continue
            known_from = response.created_at + way_s
            known_until = (response.done_at or float("inf")) + way_s
            assert not known_from + _EPS < sent_at < known_until - _EPS, f"{create}, {response.id}"


def audio_is_conserved(held: Held) -> None:
    """L11: to the byte; whole frames; only tails are padded; in order, without hole or repeat."""
    assert held.summary.audio.balance_bytes == 0
    assert {frame.size_bytes for frame in held.caller.frames} <= {FRAME_BYTES}
    before: Frame | None = None
    for frame in held.frames:
        follows = before is not None and before.response_id == frame.response_id
        if before is None or not follows:
            assert frame.offset == 0, f"{frame.response_id} lacks its first {frame.offset} bytes"
        elif before.clears == frame.clears:
            assert frame.offset == before.end
            assert before.size == FRAME_BYTES, "padding in the middle of a response"
        before = frame


def nothing_is_heard_twice_or_left_out(held: Held) -> None:
    """What was heard of a response is its beginning, each sample once, also across a cough."""
    for response_id, positions in held.heard.items():
        assert positions == list(range(len(positions))), response_id


def whole_replies_are_heard(held: Held) -> None:
    """An uninterrupted reply is heard from its first sample to its last."""
    for response in held.uninterrupted:
        assert len(held.heard[response.id]) == len(response.audio), response.id


def replies_have_no_gaps(held: Held) -> None:
    """An uninterrupted reply is heard in one piece."""
    for response in held.uninterrupted:
        pieces = [span.payload for span in held.caller.heard]
        assert any(response.audio in piece for piece in pieces), response.id


def every_turn_is_answered(held: Held) -> None:
    """L13: what the caller said last has an answer, which is heard to its end."""
    if not held.model.speech_stopped:
        return
    said_at = held.model.speech_stopped[-1].at
    answers = [r for r in held.model.responses if (r.created_at or 0.0) >= said_at - _EPS]
    spoken = [r for r in answers if r.audio and len(held.heard[r.id]) == len(r.audio)]
    assert spoken, f"nothing was heard after {said_at:.3f}"


def nothing_is_left(held: Held) -> None:
    """L12: no actor, and nothing that would keep the stepper busy."""
    assert pykka.ActorRegistry.get_all() == []
    steps = 0
    while held.simulation.stepper.step():
        steps += 1
        assert steps < 100, "something goes on after the end"


def counters_agree(held: Held) -> None:
    """L15: what the summary says is what the two simulators saw."""
    summary, caller, model = held.summary, held.caller, held.model
    seen = {
        "tx_frames": len(caller.frames),
        "clears": len(caller.clears),
        "barge_in_events": len(caller.clears),
        "marks": len(caller.marks),
        "inbound_frames": caller.inbound_frames_sent,
        "digits": len(caller.digits),
        "audio_bytes": model.audio_bytes_sent,
        "deltas": model.deltas_sent,
        "cancels": len(model.cancels),
        "creates": len(model.creates),
        "truncates": len(model.truncates),
        "appended": len(model.appended),
        "errors": len(model.errors),
    }
    counted = {
        "tx_frames": summary.tx_frames,
        "clears": summary.transmission.clears,
        "barge_in_events": summary.barge_in_events,
        "marks": summary.playout.marks_sent,
        "inbound_frames": summary.inbound.frames,
        "digits": summary.inbound.dtmf_digits,
        "audio_bytes": summary.conversation.audio_bytes,
        "deltas": summary.conversation.audio_deltas,
        "cancels": summary.response.cancels_sent,
        "creates": summary.response.creates_sent,
        "truncates": summary.conversation.truncates_sent,
        "appended": summary.session.appended_bytes,
        "errors": summary.conversation.errors.total(),
    }
    assert counted == seen


def the_carrier_had_nothing_to_complain_about(held: Held) -> None:
    """Every message had one of Twilio's exact shapes, and the model read all it was sent."""
    assert held.caller.violations == []
    assert held.model.unreadable == []
    assert held.model.misread_bytes == 0


def _item(held: Held, item_id: str) -> tuple[ResponseRecord, ItemRecord, int]:
    """An item, the response it is of, and where in it its audio begins."""
    for response in held.model.responses:
        begin = 0
        for item in response.items:
            if item.id == item_id:
                return response, item, begin
            begin += len(item.audio)
    raise AssertionError(f"no response has an item {item_id}")


ALWAYS: Final = (
    the_carrier_had_nothing_to_complain_about,
    nothing_of_an_interrupted_response_is_played_on,
    marks_carry_the_generation,
    truncates_tell_what_was_heard,
    what_was_not_heard_is_truncated,
    cancels_name_their_response_and_are_resolved,
    creates_wait_for_the_slot,
    audio_is_conserved,
    nothing_is_heard_twice_or_left_out,
    whole_replies_are_heard,
    every_turn_is_answered,
    nothing_is_left,
    counters_agree,
)
"""What holds in every call in which nothing breaks and the caller hangs up in a silence."""
