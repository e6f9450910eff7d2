"""The model's side of the explored world: one response at a time, and a mind of its own.

What it may do is in the caller's hands; this says what it is then, and what it tells. Facts: OpenAI
Realtime API reference; a create while a response is active is refused, a cancel of another response
too, a response that is cancelled may have audio under way and ends with `response.done`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from callengine.testing.explore.sound import PARTS, frame_of, item_id, response_id
from callengine.wire import realtime_events as wire

if TYPE_CHECKING:
    from callengine.machines.response_terms import SendCancel, SendCreate

ACTIVE: Final = "conversation_already_has_active_response"
NOT_ACTIVE: Final = "response_cancel_not_active"

_PCMU: Final = wire.AudioFormat("audio/pcmu", None)
CONFIRMED: Final = wire.SessionUpdated(_PCMU, _PCMU, None, None)
"""The session in force, with our formats."""


@dataclass(frozen=True, slots=True)
class Server:
    """The session as the server sees it.

    `echoes`: it tells which create a response answers, as the API does by echoing metadata.
    `names`: it tells which event an error is about, which the API does not promise.
    """

    echoes: bool
    names: bool
    interrupts: bool = True
    made: int = 0
    active: int | None = None
    answering: str | None = None
    """The event id of the create that the active response answers; None if it is automatic."""
    said: int = 0
    """Deltas sent of the active response."""
    called: bool = False
    """The active response has called a tool."""
    cut: bool = False
    """The active response was cancelled; its end is still to be told."""
    trailed: bool = False
    """Audio was sent since."""
    hearing: bool = False
    owes: bool = False
    """A turn of the caller was committed and is to be answered."""
    silent: bool = False
    """It says nothing any more, and does not read."""

    @property
    def manners(self) -> str:
        """What it tells, in words."""
        answers = "answers" if self.echoes else ""
        errors = "errors" if self.names else ""
        return "naming " + (" and ".join(filter(None, (answers, errors))) or "nothing")

    @property
    def may_say(self) -> bool:
        """There is audio left that it can send."""
        there_is = self.active is not None and self.said < len(PARTS) and not self.trailed
        return there_is and not self.silent

    def cancels(self, name: str) -> bool:
        """A cancel of this response finds it generating."""
        return self.active is not None and name == response_id(self.active) and not self.cut

    def say(self) -> tuple[Server, tuple[wire.ServerEvent, ...]]:
        """Send the next delta, and the end of its item with its last."""
        number, frame = self.active, self.said
        assert number is not None
        name, item = response_id(number), item_id(number, frame)
        told: list[wire.ServerEvent] = [wire.AudioDelta(name, item, 0, frame_of(number, frame))]
        if PARTS[frame : frame + 2] != ("a", "a") and not self.cut:
            told.append(wire.AudioDone(name, item, 0))
        return replace(self, said=frame + 1, trailed=self.cut), tuple(told)

    def call(self) -> tuple[Server, wire.FunctionCall]:
        """Call a tool."""
        number = self.active
        assert number is not None
        call = wire.FunctionCall(response_id(number), f"f{number}", f"c{number}", "book", "{}")
        return replace(self, called=True), call

    def begin(self, create: str | None) -> tuple[Server, wire.ResponseCreated]:
        """Begin a response, to answer a create or by itself."""
        assert self.active is None
        number = self.made + 1
        told = create if self.echoes else None
        begun = replace(
            self,
            made=number,
            active=number,
            answering=create,
            said=0,
            called=False,
            owes=False,
        )
        return begun, wire.ResponseCreated(response_id(number), out_of_band=False, answers=told)

    def end(self, status: str) -> tuple[Server, wire.ResponseDone]:
        """End the active response."""
        assert self.active is not None
        done = wire.ResponseDone(response_id(self.active), status, None, None, None, ())
        ended = replace(self, active=None, answering=None, cut=False, trailed=False, said=0)
        return replace(ended, called=False), done

    def hear(self) -> tuple[Server, wire.SpeechStarted]:
        """The caller begins: the server stops its response by itself, unless told not to."""
        cut = self.active is not None and (self.cut or self.interrupts)
        return replace(self, hearing=True, cut=cut), wire.SpeechStarted("u", 0)

    def commit(self) -> tuple[Server, tuple[wire.ServerEvent, ...]]:
        """The caller ends: what was said becomes a turn, which is answered."""
        told = wire.SpeechStopped("u", 0), wire.InputCommitted("u")
        return replace(self, hearing=False, owes=True), told

    def error(self, code: str, message: SendCreate | SendCancel) -> wire.ErrorReceived:
        """Refuse something."""
        caused_by = message.event_id if self.names else None
        return wire.ErrorReceived(code, None, "", None, caused_by)
