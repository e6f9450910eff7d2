"""What a call leaves behind to be judged: every frame, and where in which reply it belongs.

Replies are made of quiet noise in which every few bytes occur once, so that each frame the caller
received tells which response it is of and where in it it is from.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Final

import pykka

from callengine.agent import Agent
from callengine.audio.g711 import BYTES_PER_MS, FRAME_BYTES, SAMPLE_RATE_HZ, SILENCE_BYTE
from callengine.machines.onsets import Outcome
from callengine.machines.transmission import FALLBACK, FAREWELL
from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.realtime.script import Reply, Speech
from callengine.testing.realtime.server import SimulatedRealtime

if TYPE_CHECKING:
    from callengine.summary import BargeInEntry, CallSummary
    from callengine.testing.caller.record import CallRecord, ReceivedFrame
    from callengine.testing.realtime.record import Record, ResponseRecord
    from callengine.testing.realtime.script import ToolCall
    from callengine.testing.simulation import Simulation

MAX_STEPS_AFTER_END: Final = 100
"""Alarms that were set during a call and find nothing to do; more would be a life of its own."""

_QUIET_CODES: Final = bytes([*range(0x60, 0x7F), *range(0xE0, 0xFF)])
_TO_QUIET: Final = bytes(_QUIET_CODES[byte % len(_QUIET_CODES)] for byte in range(256))


def noise(seconds: float, seed: int) -> bytes:
    """Mu-law noise far below the level of a voice, without a byte of silence."""
    return Random(seed).randbytes(round(seconds * SAMPLE_RATE_HZ)).translate(_TO_QUIET)


def reply(seconds: float, seed: int, *calls: ToolCall, second_item_s: float = 0.0) -> Reply:
    """A reply of that length that is like no other; maybe with a second spoken item."""
    more = (Speech(noise(second_item_s, seed + 50_000), "And more."),) if second_item_s else ()
    return Reply(noise(seconds, seed), "Some words of it.", calls, more)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame the caller received: `size` bytes of a response from `offset` on, then padding."""

    at: float
    clears: int
    """How many clears had come before it."""
    response_id: str
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Where the audio behind it begins."""
        return self.offset + self.size


class UnknownAudio(AssertionError):  # noqa: N818 - named for what was heard
    """The caller received audio that the model never sent."""


@dataclass(frozen=True)
class Held:
    """A call that is over.

    `model` is the record of its first session, `later_models` are those of the sessions that took
    the place of one that was lost. `latency_s` is the longest time a message took on either line,
    `jitter_s` how much shorter another may have been under way, `frozen_s` how long the engine was
    kept from doing anything.
    """

    summary: CallSummary
    caller: CallRecord
    model: Record
    latency_s: float
    jitter_s: float
    agent: Agent
    lead_s: float = 0.1
    leftovers: tuple[str, ...] = ()
    """What went on although the call was over."""
    later_models: tuple[Record, ...] = ()
    fallback_after_s: float = 2.5
    frozen_s: float = 0.0

    @property
    def models(self) -> tuple[Record, ...]:
        """The records of all sessions, in order."""
        return (self.model, *self.later_models)

    @functools.cached_property
    def responses(self) -> list[ResponseRecord]:
        """Those of all sessions, in order."""
        return [response for model in self.models for response in model.responses]

    def model_of(self, response_id: str) -> Record:
        """The session of a response. Raises `KeyError`."""
        for model in self.models:
            if any(response.id == response_id for response in model.responses):
                return model
        raise KeyError(response_id)

    @functools.cached_property
    def own_audio(self) -> dict[str, bytes]:
        """What did not come from the model, by what stands for a response id: the farewell, and
        the fallback as often as it was played."""
        played = range(1, self.summary.fallbacks + 1)
        own = {FALLBACK.format(n): self.agent.fallback_audio() for n in played}
        return own | {FAREWELL: self.agent.farewell_audio()}

    @functools.cached_property
    def audio(self) -> dict[str, bytes]:
        """Response id -> all its audio that was sent."""
        return {response.id: response.audio for response in self.responses} | self.own_audio

    @property
    def greeting_is_protected(self) -> bool:
        """The caller may not interrupt the greeting."""
        return bool(self.agent.greeting) and self.agent.greeting_protected

    @functools.cached_property
    def frames(self) -> list[Frame]:
        """All frames, each found in the response it is of."""
        frames: list[Frame] = []
        last: Frame | None = None
        begun: dict[str, int] = {}
        for received in self.caller.frames:
            last = self._placed(received, last, begun)
            begun[last.response_id] = last.clears
            frames.append(last)
        return frames

    def _placed(self, received: ReceivedFrame, last: Frame | None, begun: dict[str, int]) -> Frame:
        """Where it belongs: behind the one before it, if it could; a tail may be one byte.

        Fallbacks are alike: it is of the latest, or of the next if it begins anew. `begun` tells
        how many clears had come before the newest frame of each response.
        """
        audio = received.payload.rstrip(SILENCE_BYTE)
        if last is not None and self.audio[last.response_id].startswith(audio, last.end):
            return self._frame(received, last.response_id, last.end)
        found = [(name, sent.find(audio)) for name, sent in self.audio.items()]
        found = [(name, offset) for name, offset in found if offset >= 0]
        if not found:
            raise UnknownAudio(f"at {received.at:.3f} the caller got a frame that is no response's")
        fresh = [each for each in found if each[1] == 0 and each[0] not in begun]
        heard = [each for each in found if each[0] in begun]
        if heard:
            newest, offset = heard[-1]
            cuts = self.interruptions[begun[newest] : received.clears]
            if not fresh or any(_left_off(cut, newest, offset) for cut in cuts):
                fresh = heard[-1:]
        return self._frame(received, *(fresh or found)[0])

    def _frame(self, received: ReceivedFrame, response_id: str, offset: int) -> Frame:
        """Silence at its end is padding, unless the response has it there."""
        whole = self.audio[response_id].startswith(received.payload, offset)
        audio = received.payload if whole else received.payload.rstrip(SILENCE_BYTE)
        return Frame(received.at, received.clears, response_id, offset, len(audio))

    def was_resumed(self, response_id: str) -> bool:
        """It was cut in error."""
        wrongly_cut = (response_id, Outcome.RESUMED)
        return any((e.response_id, e.outcome) == wrongly_cut for e in self.interruptions)

    @functools.cached_property
    def first_frame_at(self) -> dict[str, float]:
        """Response id -> when its first frame arrived at the carrier."""
        return {frame.response_id: frame.at for frame in reversed(self.frames)}

    @functools.cached_property
    def fallbacks_at(self) -> list[float]:
        """When the fallbacks began, in order."""
        return sorted(
            at
            for name, at in self.first_frame_at.items()
            if name in self.own_audio.keys() - {FAREWELL}
        )

    @functools.cached_property
    def heard_frames(self) -> list[Frame]:
        """What was heard of the frames: a clear cuts one, and drops those behind it."""
        left = [0] * (len(self.caller.clears) + 1)
        for frame in self.frames:
            left[frame.clears] += FRAME_BYTES
        for number, clear in enumerate(self.caller.clears):
            left[number] -= clear.dropped_bytes
        left[-1] -= self.caller.unheard_bytes
        heard = []
        for frame in self.frames:
            if left[frame.clears]:
                heard.append(replace(frame, size=min(frame.size, left[frame.clears])))
            left[frame.clears] -= min(FRAME_BYTES, left[frame.clears])
        return heard

    @functools.cached_property
    def heard(self) -> dict[str, list[range]]:
        """Response id -> the stretches of its audio that were heard, in the order of hearing."""
        heard: dict[str, list[range]] = {response_id: [] for response_id in self.audio}
        for frame in self.heard_frames:
            if frame.size:
                _append(heard[frame.response_id], range(frame.offset, frame.end))
        return heard

    def heard_bytes(self, response_id: str, begin: int, end: int) -> int:
        """How much was heard of the audio of a response between two positions, once or twice."""
        heard, known_to = 0, begin
        for stretch in sorted(self.heard[response_id], key=lambda each: each.start):
            heard += max(min(stretch.stop, end) - max(stretch.start, known_to), 0)
            known_to = max(known_to, stretch.stop)
        return heard

    def was_heard(self, response: ResponseRecord) -> bool:
        """From its first sample to its last, each once."""
        return self.is_in_one_piece(response.id) and self.missing_bytes(response) == 0

    def missing_bytes(self, response: ResponseRecord) -> int:
        """How much of its end was not heard."""
        stretches = self.heard[response.id]
        return len(response.audio) - (stretches[-1].stop if stretches else 0)

    @property
    def hidden_bytes(self) -> int:
        """How much audio the line's jitter hides: of the audio on its way, and of the probe's way
        there and back."""
        return round(3 * self.jitter_s * SAMPLE_RATE_HZ)

    def is_in_one_piece(self, response_id: str) -> bool:
        """What was heard is its beginning, each sample once.

        Where a false alarm was taken back, as much may be missing or heard twice as jitter hides;
        that may be before the first of it was heard.
        """
        ended, tolerance = 0, self.hidden_bytes if self.was_resumed(response_id) else 0
        for stretch in self.heard[response_id]:
            if abs(stretch.start - ended) > tolerance:
                return False
            ended, tolerance = stretch.stop, self.hidden_bytes
        return True

    def uncertain_bytes(self, response_id: str) -> int:
        """How far off what is known of its being heard may be; each false alarm adds to it."""
        return self.hidden_bytes * max(len(self.heard[response_id]), 1)

    @property
    def interruptions(self) -> list[BargeInEntry]:
        """The onsets that cleared the carrier, in order: the n-th is the n-th clear."""
        executed = [entry for entry in self.summary.barge_ins if entry.barge_in is not None]
        return sorted(executed, key=lambda entry: entry.barge_in or 0)

    @functools.cached_property
    def uninterrupted(self) -> list[ResponseRecord]:
        """The responses that were spoken, that nobody cancelled and no barge-in touched."""
        began = {frame.response_id for frame in self.frames}
        for model in self.models:
            began -= {cancel.response_id or "" for cancel in model.cancels}
        return [
            r
            for r in self.responses
            if r.id in began and r.status != "cancelled" and not self._is_cut(r)
        ]

    @functools.cached_property
    def _begun_after(self) -> dict[str, int]:
        """Response id -> how many clears had come before its first frame."""
        return {frame.response_id: frame.clears for frame in reversed(self.heard_frames)}

    def _is_cut(self, response: ResponseRecord) -> bool:
        """A clear came after it was made and before the next one was to be heard."""
        later = [r.id for r in self.responses[self.responses.index(response) + 1 :]]
        begun = [self._begun_after[each] for each in later if each in self._begun_after]
        cuts = zip(self.interruptions, self.caller.clears, strict=False)
        for number, (entry, clear) in enumerate(cuts, 1):
            went_on = any(clears < number for clears in begun)
            made_before = (response.created_at or 0.0) < clear.at
            if entry.outcome is not Outcome.RESUMED and made_before and not went_on:
                return True
        return False


def _left_off(cut: BargeInEntry, name: str, offset: int) -> bool:
    """It cut the audio of this name in error, here."""
    heard = {item.item_id: item.heard_ms for item in cut.heard}
    return cut.outcome is Outcome.RESUMED and heard.get(name) == offset // BYTES_PER_MS


def _append(stretches: list[range], more: range) -> None:
    if stretches and stretches[-1].stop == more.start:
        more = range(stretches.pop().start, more.stop)
    stretches.append(more)


def hold(simulation: Simulation) -> Held:
    """Hold a simulated call to its end."""
    caller, agent = simulation.caller, simulation.agent
    assert isinstance(caller, SimulatedCaller)
    assert isinstance(agent, Agent), "the laws are about an agent that is known"
    summary = simulation.run()
    first, *later = [m.record for m in simulation.models if isinstance(m, SimulatedRealtime)]
    return Held(
        summary,
        caller.record,
        first,
        simulation.longest_way_s,
        simulation.jitter_s,
        agent,
        simulation.settings.lead_ms / 1000,
        _leftovers(simulation),
        tuple(later),
        simulation.settings.fallback_after_ms / 1000,
        sum(hiccup.for_s for hiccup in simulation.hiccups),
    )


def _leftovers(simulation: Simulation) -> tuple[str, ...]:
    actors = tuple(str(ref) for ref in pykka.ActorRegistry.get_all())
    for _ in range(MAX_STEPS_AFTER_END):
        if not simulation.stepper.step():
            return actors
    return (*actors, "the stepper has things to do")
