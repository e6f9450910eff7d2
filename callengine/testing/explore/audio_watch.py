"""L1, L3 and L6, kept from what crosses the lines: what may be played, and what was heard.

It follows every frame from the model to the caller's ear by what the frame sounds like.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from callengine.audio.g711 import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, FRAME_S
from callengine.machines.transmission_terms import SendClear, SendMedia
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    Interrupted,
    ResponseHeard,
)
from callengine.testing.explore.broken import Broken, hold
from callengine.testing.explore.sound import item_id, response_id, runs
from callengine.wire import realtime_events as wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callengine.testing.explore.sound import Run

_SLACK_S: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Told:
    """A response from when the bridge is told of it until all of it was heard or truncated."""

    number: int
    born: int
    """How many cuts the bridge had heard of."""
    protected: bool
    unwanted: bool
    """It answers a create that the caller had overtaken when it began."""
    received: int = 0
    """Frames."""
    heard: tuple[int, ...] = ()
    """Bytes of each frame that reached the ear."""
    truncated: tuple[str, ...] = ()
    done: bool = False
    heard_out: bool = False
    """Our playout says that the caller heard it to its end."""

    @property
    def id(self) -> str:
        """Its name."""
        return response_id(self.number)

    @property
    def items(self) -> set[str]:
        """Its items of which audio came."""
        return {item_id(self.number, frame) for frame in range(self.received)}

    def misheard(self, slack_bytes: int) -> set[str]:
        """Items that the model believes were heard, although some of them was not."""
        missed = {
            item
            for item in self.items
            if sum(FRAME_BYTES - heard for heard in self.bytes_of(item)) > slack_bytes
        }
        return missed - {*self.truncated}

    def bytes_of(self, item: str) -> list[int]:
        """How much was heard of each frame of an item."""
        return [
            self.heard[frame] if frame < len(self.heard) else 0
            for frame in range(self.received)
            if item_id(self.number, frame) == item
        ]

    def hears(self, frame: int, size_bytes: int) -> Told:
        """More of a frame reached the ear; a part of it may be played again after a false alarm."""
        heard = [*self.heard, *[0] * (frame + 1 - len(self.heard))]
        heard[frame] = min(heard[frame] + size_bytes, FRAME_BYTES)
        return replace(self, heard=tuple(heard))


@dataclass(frozen=True, slots=True)
class Cuts:
    """How often the caller took the floor, by what the pacer told: counted here, not there."""

    count: int = 0
    standing: int = 0
    """Responses that began before this one was heard of are not to be played."""
    before: int = 0
    """What stands again if the interruption turns out to be a false alarm."""
    open: bool = False
    """Nobody is sure yet."""
    generation: int = 0
    """The pacer's, only to see whether a verdict is a cut of its own."""

    def told(self, action: object) -> Cuts:
        """The pacer tells the bridge something."""
        count = self.count + 1
        match action:
            case Interrupted(_, generation):
                return Cuts(count, count, self.standing, open=True, generation=generation)
            case CallerSpoke(generation):
                return Cuts(count, count, count, generation=generation)
            case BargeInConfirmed(generation) if generation != self.generation:
                return Cuts(count, count, count, generation=generation)
            case BargeInConfirmed():
                return replace(self, before=self.standing, open=False)
            case BargeInDismissed():
                return replace(self, standing=self.before, open=False)
        return self


@dataclass(frozen=True, slots=True)
class AudioWatch:
    """The books of the caller's side."""

    told: tuple[Told, ...] = ()
    cuts: Cuts = Cuts()
    """As the pacer told them."""
    heard: Cuts = Cuts()
    """As far as the bridge has heard of them."""
    plays_until: float = float("-inf")
    """By our own clock."""
    slack_bytes: int = 0
    """By how much we may be wrong about what was heard, because the line takes its time."""

    def of(self, name: str) -> Told | None:
        """What is known of a response or an item; None once it is settled."""
        for told in self.told:
            if told.id == name or name in told.items:
                return told
        return None

    def _change(self, name: str, change: Callable[[Told], Told]) -> AudioWatch:
        told = self.of(name)
        return self._with(change(told)) if told else self

    def _with(self, told: Told) -> AudioWatch:
        left = [told if each.number == told.number else each for each in self.told]
        return replace(self, told=tuple(each for each in left if not self._settled(each)))

    def _settled(self, told: Told) -> bool:
        """Nothing more is to become of it."""
        is_over = told.heard_out or told.items <= {*told.truncated}
        return told.done and is_over and not told.misheard(self.slack_bytes)

    # ---- the model's side

    def bridge_hears(self, event: object, *, protected: bool, unwanted: bool) -> AudioWatch:
        """Note what arrives; the flags are about a response that begins."""
        match event:
            case wire.ResponseCreated(name):
                told = Told(int(name[1:]), self.heard.count, protected, unwanted)
                return replace(self, told=(*self.told, told))
            case wire.AudioDelta(name):
                return self._change(name, lambda t: replace(t, received=t.received + 1))
            case wire.ResponseDone(name):
                return self._change(name, lambda told: replace(told, done=True))
        return replace(self, heard=self.heard.told(event))

    def bridge_does(self, action: object) -> AudioWatch:
        """Judge an action."""
        if not isinstance(action, SendTruncate):
            return self
        item = action.item_id
        told = self.of(item)
        if told is None or item in told.truncated:
            raise Broken("L3", f"{item} is truncated although it is settled")
        heard = told.bytes_of(item)
        received_ms = len(heard) * FRAME_MS
        heard_ms = sum(heard) / BYTES_PER_MS
        claim = f"{item} is truncated to {action.audio_end_ms} ms"
        hold("L3", f"{claim} of {received_ms}", holds=action.audio_end_ms <= received_ms)
        is_near = abs(action.audio_end_ms - heard_ms) <= FRAME_MS
        hold("L3", f"{claim}, {heard_ms} were heard", holds=is_near)
        hold("L9", f"{item} is protected", holds=not told.protected)
        return self._with(replace(told, truncated=(*told.truncated, item)))

    # ---- the caller's side

    def pacer_does(self, action: object, now: float) -> AudioWatch:
        """Judge an action."""
        match action:
            case SendMedia(payload):
                hold("L1", "audio is played while nobody is sure", holds=not self.cuts.open)
                for run in runs(payload):
                    self._may_be_written(run)
                return replace(self, plays_until=max(self.plays_until, now) + FRAME_S)
            case SendClear():
                return replace(self, plays_until=now)
            case ResponseHeard(name):
                return self._heard_out(name)
        return replace(self, cuts=self.cuts.told(action))

    def _may_be_written(self, run: Run) -> None:
        name = response_id(run.response)
        hold("L1", f"{name} is played although it is settled", holds=self.of(name) is not None)
        self.may_be_heard(run)

    def may_be_heard(self, run: Run) -> None:
        """L1, as a frame is written and as it arrives."""
        name = response_id(run.response)
        told = self.of(name)
        if told is None:
            return  # our playout is a little ahead of the ear
        in_time = told.protected or told.born >= self.cuts.standing
        hold("L1", f"{name} is played after the clear", holds=in_time)
        hold("L1", f"{name} is played, which the caller overtook", holds=not told.unwanted)

    def _heard_out(self, name: str) -> AudioWatch:
        told = self.of(name)
        if told is None:
            raise Broken("L3", f"{name} is heard to its end although it is settled")
        return self._with(replace(told, heard_out=True))

    def ear_hears(self, heard: Iterable[Run]) -> AudioWatch:
        """What the carrier has really played."""
        watch = self
        for run in heard:
            told = watch.of(response_id(run.response))
            if told is not None:
                watch = watch._with(told.hears(run.frame, run.size_bytes))
        return watch

    def interrupted(self, on_air: Run | None, now: float, actions: Iterable[object]) -> None:
        """L6: the caller's voice over what he can hear silences it at once."""
        told = self.of(response_id(on_air.response)) if on_air else None
        audible = on_air is not None and self.plays_until > now + _SLACK_S
        if not audible or (told is not None and told.protected):
            return
        cleared = any(isinstance(action, SendClear) for action in actions)
        hold("L6", "the caller speaks over audio, and it goes on", holds=cleared)

    def at_rest(self) -> None:
        """Nothing is under way: the model believes of nothing that it was heard, unless it was."""
        for told in self.told:
            misheard = ", ".join(sorted(told.misheard(self.slack_bytes)))
            hold("L3", f"{misheard} was neither heard nor truncated", holds=not misheard)
            is_cut = told.born < self.cuts.standing and not told.protected
            is_over = told.done and told.received and not is_cut
            is_told = told.heard_out or not is_over
            hold("stuck", f"nobody is told that {told.id} was heard to its end", holds=is_told)
