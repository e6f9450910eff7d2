"""What one 20 ms slot of one call costs, part by part: microseconds, the least of many runs.

    python benchmarks/hot_path.py                    all parts
    python benchmarks/hot_path.py --runs 200 decode  those with `decode` in the name

A caller's frame comes in and goes to the model; a frame of the model goes out to the caller. The
machines and codecs alone first, then whole slots through all actors of a call, with the least of a
dispatcher and no socket. The least of many runs is what the code costs; a busy machine only adds to
it.
"""

from __future__ import annotations

import argparse
import gc
import heapq
import itertools
import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import pykka
from loguru import logger

from callengine import Agent, Settings
from callengine.actors.call import Call, Setting, start_call
from callengine.actors.dispatch import DispatchedActor, Line, LineMailbox, tell
from callengine.actors.vad_detector import VADDetector
from callengine.audio.g711 import FRAME_BYTES, FRAME_S, SILENCE_FRAME
from callengine.audio.level import LevelDetector
from callengine.logs import CallLog
from callengine.machines.dialogue import Brief, Dialogue
from callengine.machines.inbound import Inbound
from callengine.machines.metering import Budget
from callengine.machines.transmission import Transmission
from callengine.machines.transmission_terms import SendMedia
from callengine.messages import (
    CallerFrame,
    DeadlineReached,
    FrameSent,
    ModelConnected,
    ModelMessage,
    PlayAudio,
    StreamStarted,
)
from callengine.testing.speech import clip
from callengine.wire import realtime_server, twilio
from callengine.wire.realtime_client import SessionConfig, encode_append
from callengine.wire.realtime_events import AudioFormat, SessionUpdated

SLOTS = 500
"""20 ms slots in one run; what a run needs is made anew before it, and not counted."""

DELTA_BYTES = 10 * FRAME_BYTES
STREAM, CALL = "MZ" + "2c" * 16, "CA" + "1b" * 16
VOICE = clip("caller_question_1")
LINE_NOISE = bytes([0xFE, 0x7E, 0xFD, 0x7D, 0xFF]) * 1000
"""A caller who listens: what he does not say must not interrupt the AI."""

Run = Callable[[], object]
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """`prepare` makes what one run needs and returns the run, of so many `slots`."""

    name: str
    prepare: Callable[[], Run]
    slots: int = SLOTS


# ---- what comes and goes


def frames(audio: bytes, count: int) -> list[bytes]:
    """The audio over and over, in frames."""
    whole = [audio[n : n + FRAME_BYTES] for n in range(0, len(audio) - FRAME_BYTES, FRAME_BYTES)]
    return [whole[n % len(whole)] for n in range(count)]


def text(audio: bytes) -> str:
    return b64encode(audio).decode()


def start() -> str:
    began = {
        "streamSid": STREAM,
        "accountSid": "AC" + "0a" * 16,
        "callSid": CALL,
        "tracks": ["inbound"],
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
        "customParameters": {},
    }
    return json.dumps(
        {"event": "start", "sequenceNumber": "1", "start": began, "streamSid": STREAM}
    )


def media(number: int, audio: bytes) -> str:
    """As Twilio writes it: no spaces, counters as texts."""
    spoken = {
        "track": "inbound",
        "chunk": str(number + 1),
        "timestamp": str(82 + 20 * number),
        "payload": text(audio),
    }
    message = {
        "event": "media",
        "sequenceNumber": str(number + 2),
        "media": spoken,
        "streamSid": STREAM,
    }
    return json.dumps(message, separators=(",", ":"))


def delta(number: int) -> str:
    return json.dumps(
        {
            "type": "response.output_audio.delta",
            "event_id": f"event_{number:020}",
            "response_id": "resp_1",
            "item_id": "item_1",
            "output_index": 0,
            "content_index": 0,
            "delta": text(VOICE[:DELTA_BYTES]),
        }
    )


MEDIA = [media(n, frame) for n, frame in enumerate(frames(VOICE, SLOTS))]
QUIET_MEDIA = [media(n, frame) for n, frame in enumerate(frames(LINE_NOISE, SLOTS))]
DELTAS = [delta(n) for n in range(100)]
UPDATED = json.dumps(
    {
        "type": "session.updated",
        "event_id": "event_0",
        "session": {
            "type": "realtime",
            "id": "sess_1",
            "audio": {
                "input": {"format": {"type": "audio/pcmu"}},
                "output": {"format": {"type": "audio/pcmu"}, "voice": "marin"},
            },
        },
    }
)
CREATED = json.dumps(
    {"type": "response.created", "event_id": "event_1", "response": {"id": "resp_1"}}
)


def for_each(do: Callable[[T], object], things: Iterable[T]) -> Run:
    def run() -> None:
        for thing in things:
            do(thing)

    return run


# ---- inbound, part by part


def decode() -> Run:
    return for_each(twilio.decode, MEDIA)


def ingress() -> Run:
    machine = Inbound(0.0)
    machine.handle(twilio.decode(start()), 0.0)
    events = [(twilio.decode(message), FRAME_S * n) for n, message in enumerate(MEDIA, 1)]

    def run() -> None:
        for event, now in events:
            machine.handle(event, now)
            machine.next_deadline()

    return run


def detector(sent: bytes | None) -> Callable[[], Run]:
    def prepare() -> Run:
        actor = VADDetector(Straight(), logger, LevelDetector(400), onset_frames=5)
        events = [(CallerFrame(f), FRAME_S * n) for n, f in enumerate(frames(VOICE, SLOTS))]
        echoes = [FrameSent(frame) for frame in frames(sent, SLOTS)] if sent else []

        def silent() -> None:
            for event, now in events:
                for _ in actor.handle(event, now):
                    pass

        def speaking() -> None:
            for (event, now), echo in zip(events, echoes, strict=True):
                for _ in actor.handle(echo, now):
                    pass
                for _ in actor.handle(event, now):
                    pass

        return speaking if echoes else silent

    return prepare


def live() -> Dialogue:
    """A dialogue whose model hears the caller and has begun to answer."""
    brief = Brief(SessionConfig("You answer the phone.", "marin"), None, greeting_protected=False)
    dialogue = Dialogue(brief, retries=1, budget=Budget())
    pcmu = AudioFormat("audio/pcmu", None)
    dialogue.handle(StreamStarted(STREAM, CALL, {}), 0.0)
    dialogue.handle(ModelConnected(), 0.0)
    dialogue.handle(SessionUpdated(pcmu, pcmu, None, "marin"), 0.0)
    dialogue.handle(realtime_server.decode(CREATED), 0.0)
    return dialogue


def bridge() -> Run:
    machine = live()
    events = [(CallerFrame(f), FRAME_S * n) for n, f in enumerate(frames(VOICE, SLOTS))]

    def run() -> None:
        for event, now in events:
            machine.handle(event, now)
            machine.next_deadline()

    return run


def append() -> Run:
    return for_each(encode_append, frames(VOICE, SLOTS))


# ---- outbound, part by part


def decode_delta() -> Run:
    return for_each(realtime_server.decode, DELTAS)


def bridge_delta() -> Run:
    machine = live()
    events = [(realtime_server.decode(message), 0.2 * n) for n, message in enumerate(DELTAS)]
    machine.handle(events[0][0], 0.0)

    def run() -> None:
        for event, now in events:
            machine.handle(event, now)
            machine.next_deadline()

    return run


def pacer(audio: list[bytes]) -> Transmission:
    machine = Transmission(lead_s=0.1, mark_every_frames=10, false_trigger_s=0.5)
    machine.handle(StreamStarted(STREAM, CALL, {}), 0.0)
    for each in audio:
        machine.handle(PlayAudio("resp_1", "item_1", 0, each, 0), 0.0)
    return machine


def pacer_delta() -> Run:
    machine = pacer([VOICE[:DELTA_BYTES]])
    play = PlayAudio("resp_1", "item_1", 0, VOICE[:DELTA_BYTES], 0)

    def run() -> None:
        for _ in DELTAS:
            machine.handle(play, 0.0)
            machine.next_deadline()

    return run


def pacer_frame() -> Run:
    """The alarms of a long reply; every 20 ms of it is a frame."""
    machine = pacer([VOICE[:DELTA_BYTES]] * (SLOTS // 10 + 1))
    alarm = DeadlineReached()

    def run() -> None:
        sent = 0
        while sent < SLOTS:
            due = machine.next_deadline()
            assert due is not None, "there is audio to be sent"
            actions = machine.handle(alarm, due)
            sent += sum(type(action) is SendMedia for action in actions)

    return run


def encode_media() -> Run:
    return for_each(partial(twilio.encode_media, STREAM), frames(VOICE, SLOTS))


# ---- whole slots, through all actors


class Straight:
    """The least that a dispatcher can do: one thread, and a clock that is set."""

    def __init__(self) -> None:
        self._now = 0.0
        self._line = Line(lambda: None)
        self._due: list[tuple[float, int, pykka.ActorRef[Any], object]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def tell_at(self, when: float, ref: pykka.ActorRef[Any], message: object) -> None:
        heapq.heappush(self._due, (when, next(self._order), ref, message))

    def mailbox(self) -> LineMailbox:
        return LineMailbox(self._line)

    def start(self, actor: DispatchedActor) -> None:
        pass

    def settle(self) -> None:
        while self._line:
            self._line.handle_next()

    def run(self, until: float) -> None:
        self.settle()
        while self._due and self._due[0][0] <= until:
            self._now, _, ref, message = heapq.heappop(self._due)
            tell(ref, message)
            self.settle()
        self._now = until


class NoCarrier:
    """A `CarrierLink` to nobody. The marks it is sent are kept for their echoes."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.media: list[str] = []

    def send_media(self, message: str) -> None:
        self.media.append(message)

    def send(self, message: str) -> None:
        if message.startswith('{"event":"mark"'):
            self.marks.append(message)

    def send_first(self, message: str) -> tuple[int, int]:
        raise AssertionError(f"nobody interrupts the AI: {message}")

    def close(self, code: int, reason: str) -> None:
        pass


class NoModel:
    """A `ModelLink` to nobody."""

    tell_bridge: Callable[[Any], None]

    def connect(self, tell_bridge: Callable[[Any], None], *_: object) -> None:
        self.tell_bridge = tell_bridge

    def send_media(self, message: str) -> None:
        pass

    def send(self, message: str) -> None:
        pass

    def close(self) -> None:
        pass


class Slots:
    """A call under way, one slot of 20 ms after the other."""

    def __init__(self, caller: list[str]) -> None:
        self.caller = caller
        self.dispatcher = Straight()
        self.carrier, self.model = NoCarrier(), NoModel()
        self.call: Call = start_call(
            Setting(self.dispatcher, self.dispatcher, CallLog()),
            Settings(),
            Agent(greeting=None),
            (self.carrier, self.model),
            lambda _: None,
        )
        self.call.received(start())
        self.dispatcher.settle()
        self.model.tell_bridge(ModelConnected())
        self.model.tell_bridge(ModelMessage(UPDATED))
        self.model.tell_bridge(ModelMessage(CREATED))
        self.dispatcher.settle()
        self._until = self.dispatcher.now()

    def __iter__(self) -> Iterator[None]:
        """Each slot begins with a frame of the caller; then the clock moves on."""
        for message in self.caller:
            self.call.received(message)
            self._until += FRAME_S
            self.dispatcher.run(self._until)
            yield

    def speak(self, message: str) -> None:
        """Let the model say something."""
        self.model.tell_bridge(ModelMessage(message))
        self.dispatcher.settle()


def listening() -> Run:
    slots = Slots(MEDIA)

    def run() -> None:
        for _ in slots:
            pass
        slots.call.abandon()
        slots.dispatcher.settle()

    return run


def speaking() -> Run:
    slots = Slots(QUIET_MEDIA)
    for message in DELTAS:
        slots.speak(message)

    def run() -> None:
        for _ in slots:
            while slots.carrier.marks:
                slots.call.received(slots.carrier.marks.pop(0))
        assert len(slots.carrier.media) >= SLOTS, "nobody interrupts the AI"
        slots.call.abandon()
        slots.dispatcher.settle()

    return run


SUMMED = {"inbound", "outbound, a frame", "outbound, a delta of 200 ms"}
"""Groups of parts that follow one another; those of the others stand for themselves."""

PARTS = {
    "inbound": [
        Part("decode media", decode),
        Part("ingress machine", ingress),
        Part("detector, nothing sent", detector(None)),
        Part("bridge machine", bridge),
        Part("encode append", append),
    ],
    "inbound while the AI speaks": [
        Part("detector, silence sent", detector(SILENCE_FRAME * 2)),
        Part("detector, speech sent", detector(VOICE)),
    ],
    "outbound, a frame": [
        Part("pacer machine, alarm", pacer_frame),
        Part("encode media", encode_media),
    ],
    "outbound, a delta of 200 ms": [
        Part("decode delta", decode_delta, len(DELTAS)),
        Part("bridge machine, delta", bridge_delta, len(DELTAS)),
        Part("pacer machine, delta", pacer_delta, len(DELTAS)),
    ],
    "a slot with all actors": [
        Part("slot, the caller only", listening),
        Part("slot, the AI speaks too", speaking),
    ],
}


def least_us(part: Part, runs: int) -> float:
    """Microseconds per slot in the fastest run."""
    least = float("inf")
    for _ in range(runs):
        run = part.prepare()
        gc.collect()
        gc.disable()
        began = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - began)
        gc.enable()
    return least / part.slots * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", default="", help="only parts with this in their names")
    parser.add_argument("--runs", type=int, default=30)
    options = parser.parse_args()
    for title, parts in PARTS.items():
        chosen = [part for part in parts if options.part in part.name]
        if not chosen:
            continue
        print(f"\n{title}")
        told = [(part.name, least_us(part, options.runs)) for part in chosen]
        for name, cost_us in told:
            print(f"  {name:26} {cost_us:7.2f} us")
        if title in SUMMED and len(told) > 1:
            print(f"  {'together':26} {sum(cost_us for _, cost_us in told):7.2f} us")


if __name__ == "__main__":
    main()
