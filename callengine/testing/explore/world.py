"""The explored world: the two machines, what is under way between them, and everybody else.

A world is cheap to copy: all it holds is immutable. Lines keep their order and are bounded; a move
that would put more on one is not made. Messages to the model that nothing ever answers (audio,
truncates, tool results) are judged as they are written and go no further.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from callengine.machines.response_terms import Purpose, SendCancel, SendCreate
from callengine.machines.transmission_terms import SendClear, SendMark, SendMedia
from callengine.messages import (
    CallEnding,
    ModelHeardSpeech,
    Owner,
    ResetRequest,
    SpeechConfirmed,
    SpeechOnset,
    StateChanged,
    ToolCalled,
)
from callengine.testing.explore.broken import hold
from callengine.testing.explore.fingerprint import digest
from callengine.testing.explore.slot_watch import MAX_STRIKES
from callengine.testing.explore.sound import runs
from callengine.testing.explore.terms import (
    MAX_IN_A_MAILBOX,
    MAX_ON_A_LINE,
    TO_BRIDGE,
    TO_PACER,
    TO_SERVER,
    Budget,
    Downlink,
    Voice,
    Waiting,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from callengine.testing.explore.audio_watch import AudioWatch
    from callengine.testing.explore.carrier import Carrier, Echo
    from callengine.testing.explore.fingerprint import Flat
    from callengine.testing.explore.server import Server
    from callengine.testing.explore.slot_watch import SlotWatch
    from callengine.testing.explore.snapshots import Machines, Snapshot

_COMPARED: Final = (
    "server",
    "carrier",
    "to_bridge",
    "to_pacer",
    "uplink",
    "downlink",
    "outbox",
    "echoes",
    "slot_watch",
    "audio_watch",
    "budget",
)


class World:
    """One moment. Moves copy it (`fork`) and change the copy."""

    machines: Machines
    now: float
    pacer: Snapshot
    bridge: Snapshot
    server: Server
    carrier: Carrier
    slot_watch: SlotWatch
    audio_watch: AudioWatch
    voice: Voice = Voice.QUIET
    budget: Budget = Budget()
    slow_line: bool = False
    """What is written to the carrier, and what it echoes, may be under way for up to a frame."""
    to_bridge: tuple[object, ...] = ()
    to_pacer: tuple[object, ...] = ()
    uplink: tuple[Any, ...] = ()
    downlink: tuple[Downlink, ...] = ()
    outbox: tuple[Waiting, ...] = ()
    echoes: tuple[Waiting, ...] = ()
    resets: tuple[ResetRequest, ...] = ()
    host: tuple[str, ...] = ()
    """Tools that are running."""
    versions: tuple[int, int] = (0, 0)
    """The newest ones of playout and of the response that were reported."""
    ended: bool = False
    flats: dict[str, tuple[object, Flat]]

    def __init__(self) -> None:
        self.flats = {}

    def fork(self) -> World:
        """A copy to be changed."""
        world = World.__new__(World)
        world.__dict__ = self.__dict__.copy()
        world.flats = self.flats.copy()
        return world

    # ---- the bridge

    def bridge_hears(self, event: object, about: str | None = None) -> None:
        """Tell the bridge something and do what it says."""
        slots, sound = self.slot_watch, self.audio_watch
        out = slots.out
        self.audio_watch = sound.bridge_hears(
            event,
            protected=out is not None and out.event_id == about and out.protected,
            unwanted=slots.unwanted(about),
        )
        self.slot_watch = slots.bridge_hears(event, self.now, about)
        step = self.machines.step(self.bridge, event, self.now)
        self.bridge = step.after
        for action in step.actions:
            self._bridge_does(action)

    def _bridge_does(self, action: object) -> None:
        self.slot_watch = self.slot_watch.bridge_does(
            action, self.now, greeting=self._is_greeting(action)
        )
        self.audio_watch = self.audio_watch.bridge_does(action)
        match action:
            case StateChanged(Owner.RESPONSE, _, version):
                self.versions = (self.versions[0], version)
            case ToolCalled(call_id):
                self.host = (*self.host, call_id)
            case CallEnding(_, detail):
                hold("L5", f"given up: {detail}", holds=self.slot_watch.strikes >= MAX_STRIKES)
                self.ended = True
            case _ if isinstance(action, TO_PACER):
                self.to_pacer = (*self.to_pacer, action)
            case _ if isinstance(action, TO_SERVER):
                self.uplink = (*self.uplink, action)

    def _is_greeting(self, action: object) -> bool:
        """A create or a cancel is about the greeting, and that may not be interrupted."""
        if isinstance(action, SendCreate):
            return action.wanted.purpose is Purpose.GREETING and not self.server.interrupts
        told = self.audio_watch.of(action.response_id) if isinstance(action, SendCancel) else None
        return told is not None and told.protected

    # ---- the pacer

    def pacer_hears(self, event: object) -> None:
        """Tell the pacer something and do what it says."""
        step = self.machines.step(self.pacer, event, self.now)
        self.pacer = step.after
        if isinstance(event, SpeechOnset | SpeechConfirmed | ModelHeardSpeech):
            on_air = self.carrier.on_air
            self.audio_watch.interrupted(on_air, self.now, step.actions)
        for action in step.actions:
            self._pacer_does(action)

    def _pacer_does(self, action: object) -> None:
        self.audio_watch = self.audio_watch.pacer_does(action, self.now)
        match action:
            case StateChanged(Owner.PLAYOUT, _, version):
                self.versions = (version, self.versions[1])
            case _ if isinstance(action, TO_BRIDGE):
                self.to_bridge = (*self.to_bridge, action)
            case SendMedia() | SendMark() | SendClear():
                self._write(action)

    # ---- the carrier

    def _write(self, message: SendMedia | SendMark | SendClear) -> None:
        if not self.slow_line:
            self.carrier_hears(message)
        elif isinstance(message, SendClear):
            self.outbox = (Waiting(self.now, message),)  # what had not left never leaves
        else:
            self.outbox = (*self.outbox, Waiting(self.now, message))

    def carrier_hears(self, message: SendMedia | SendMark | SendClear | Echo) -> None:
        """A message arrives at the carrier."""
        match message:
            case SendMedia(payload):
                for run in runs(payload):
                    self.audio_watch.may_be_heard(run)
                self.carrier = self.carrier.media(payload, self.now)
            case SendMark(name):
                self.carrier = self.carrier.mark(name, self.now)
                self.carrier_plays()
            case SendClear():
                self.carrier, heard, echoes = self.carrier.clear(self.now)
                self.audio_watch = self.audio_watch.ear_hears(heard)
                self._echo(echoes)

    def carrier_plays(self) -> None:
        """It has played on until now."""
        self.carrier, heard, echoes = self.carrier.play(self.now)
        self.audio_watch = self.audio_watch.ear_hears(heard)
        self._echo(echoes)

    def _echo(self, echoes: Iterable[Echo]) -> None:
        self.echoes += tuple(Waiting(self.now, echo) for echo in echoes)

    # ---- what tells it from another one

    @property
    def under_way(self) -> bool:
        """A message is between any two; a mark that comes back is not worth waiting for."""
        boxes = self.to_bridge or self.to_pacer or self.uplink or self.downlink
        return bool(boxes or self.outbox or self.resets)

    def at_rest(self) -> None:
        """Nothing is under way and no deadline pending. Raises `Broken` if something is undone."""
        self.slot_watch.at_rest()
        self.audio_watch.at_rest()
        hold("L9", "the server may never interrupt", holds=self.server.interrupts)

    @property
    def overfull(self) -> bool:
        """More is under way than is explored."""
        lines = (self.uplink, self.downlink)
        boxes = (self.to_bridge, self.to_pacer, self.outbox, self.echoes)
        return any(len(line) > MAX_ON_A_LINE for line in lines) or any(
            len(box) > MAX_IN_A_MAILBOX for box in boxes
        )

    def key(self) -> bytes:
        """Equal for worlds that no future can tell apart."""
        parts = [self.pacer.flat, self.bridge.flat, *map(self._flat, _COMPARED), self._rest()]
        return digest(parts, self.now, self.audio_watch.cuts.generation)

    def _flat(self, name: str) -> Flat:
        """A field taken apart; most are those of the world before."""
        value = getattr(self, name)
        known = self.flats.get(name)
        if known is None or known[0] is not value:
            known = self.flats[name] = (value, self.machines.flattener.of_value(value))
        return known[1]

    def _rest(self) -> Flat:
        resets = tuple((each.owner.value, self.behind(each)) for each in self.resets)
        rest = (self.voice, self.slow_line, self.ended, self.host, resets)
        return self.machines.flattener.of_value(rest)

    def behind(self, request: ResetRequest) -> int:
        """How many steps a request of the watchdog's is behind its owner."""
        return self.versions[request.owner is Owner.RESPONSE] - request.if_version
