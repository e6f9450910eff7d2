"""When a response says what: a reply laid out as timed steps before its generation begins.

Decides sizes, pace and order of the pieces; refuses to know event names and cancellations.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from callengine.testing.realtime.audio import PCMU, AudioFormat
from callengine.testing.realtime.script import Behaviour, Reply, Speech, ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from callengine.testing.realtime.faults import FailResponse, StallAudio

TRANSCRIPT_LEAD: Final = 0.7
"""The transcript of an item is complete after this part of the time its audio takes."""

SILENT_WORD_S: Final = 0.02
"""Pace of the words of an item without audio."""


class StepKind(Enum):
    """What a step does."""

    OPEN = "open"
    WORDS = "words"
    AUDIO = "audio"
    ARGUMENTS = "arguments"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to send about item `index`, `after_s` behind `response.created`."""

    after_s: float
    kind: StepKind
    index: int
    text: str = ""
    audio: bytes = b""


Output = Speech | ToolCall


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a reply is spoken: its format, the manners, and the source of uneven sizes."""

    behaviour: Behaviour
    audio_format: AudioFormat
    rng: Random

    def duration_s(self, size_bytes: int) -> float:
        """How long it takes to generate so many bytes."""
        return size_bytes / (self.audio_format.bytes_per_s * self.behaviour.pace)


def outputs_of(reply: Reply) -> tuple[Output, ...]:
    """The items of a reply in the order of their `output_index`."""
    return (*reply.spoken(), *reply.function_calls)


def cut(reply: Reply, fault: FailResponse) -> Reply:
    """The reply as far as it gets before it fails."""
    if fault.after_ms == 0:
        return Reply(ending=fault.ending)
    left = fault.after_ms * PCMU.bytes_per_s // 1000
    kept = []
    for said in reply.spoken():
        part = said.audio[:left]
        words = said.transcript[: len(said.transcript) * len(part) // max(1, len(said.audio))]
        kept.append(Speech(part, words))
        left -= len(part)
        if left <= 0:
            break
    return Reply(more_speech=tuple(kept), ending=fault.ending)


def lay_out(reply: Reply, delivery: Delivery, *, with_audio: bool = True) -> list[Step]:
    """All steps of a reply in order; without audio only the words are left (a text response)."""
    at = delivery.behaviour.first_audio_s
    steps: list[Step] = []
    closing: list[Step] = []
    for index, output in enumerate(outputs_of(reply)):
        overlaps = isinstance(output, Speech)
        if not overlaps:
            steps += closing
            closing = []
        pieces, ends_at = _pieces(index, output, at, (delivery, with_audio))
        head = _head_length(pieces)
        # The next spoken item begins before the one before it is done, as captured.
        steps += pieces[:head] + closing + pieces[head:]
        closing = [Step(ends_at, StepKind.CLOSE, index)]
        at = ends_at
    return steps + closing


def stall(steps: list[Step], faults: Iterable[StallAudio], audio_format: AudioFormat) -> list[Step]:
    """The steps with a pause in the audio for each fault."""
    for fault in faults:
        before = audio_format.bytes_per_s * fault.after_ms // 1000
        steps = _paused(steps, before, fault.for_s)
    return steps


def _paused(steps: list[Step], before_bytes: int, for_s: float) -> list[Step]:
    sent = 0
    for position, step in enumerate(steps):
        if step.kind is StepKind.AUDIO and sent >= before_bytes:
            late = [replace(rest, after_s=rest.after_s + for_s) for rest in steps[position:]]
            return steps[:position] + late
        sent += len(step.audio)
    return steps


def _pieces(
    index: int, output: Output, at: float, how: tuple[Delivery, bool]
) -> tuple[list[Step], float]:
    opening = Step(at, StepKind.OPEN, index)
    if isinstance(output, ToolCall):
        half = (len(output.arguments) + 1) // 2
        halves = [output.arguments[:half], output.arguments[half:]]
        return [opening, *(Step(at, StepKind.ARGUMENTS, index, p) for p in halves if p)], at
    delivery, with_audio = how
    audio = delivery.audio_format.speak(output.audio) if with_audio else b""
    words = re.findall(r"\s*\S+", output.transcript)
    lasts_s = delivery.duration_s(len(audio)) if audio else len(words) * SILENT_WORD_S
    step_s = lasts_s * TRANSCRIPT_LEAD / max(1, len(words))
    spoken = [Step(at + n * step_s, StepKind.WORDS, index, w) for n, w in enumerate(words)]
    spoken += _audio_steps(index, audio, at, delivery)
    # Stable: of words and audio at the same moment the words come first, as captured.
    return [opening, *sorted(spoken, key=lambda step: step.after_s)], at + lasts_s


def _audio_steps(index: int, audio: bytes, at: float, delivery: Delivery) -> list[Step]:
    steps = []
    position = 0
    while position < len(audio):
        size = delivery.rng.choice(delivery.behaviour.delta_bytes)
        piece = audio[position : position + size]
        steps.append(Step(at + delivery.duration_s(position), StepKind.AUDIO, index, audio=piece))
        position += size
    return steps


def _head_length(pieces: list[Step]) -> int:
    """The opening of an item up to and including its first audio."""
    for position, step in enumerate(pieces):
        if step.kind is StepKind.AUDIO:
            return position + 1
    return 1
