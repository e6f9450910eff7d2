"""Runs a `SimulatedCaller` on an invented clock and plays the agent at the other end."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import TYPE_CHECKING, Any

from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.peer import Close

if TYPE_CHECKING:
    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step
    from callengine.testing.peer import Outgoing

OPENED_AT = 1000.0


def speech(duration_ms: int, first: int = 1) -> bytes:
    """Bytes that are no silence and tell their place."""
    return bytes((first + n) % 250 for n in range(duration_ms * 8))


class Call:
    """All times are seconds since the stream opened."""

    def __init__(self, *script: Step, **options: Any) -> None:  # noqa: ANN401
        self.caller = SimulatedCaller(script, **options)
        self.sent: list[tuple[float, Outgoing]] = []
        self._now = OPENED_AT
        self.caller.opened(OPENED_AT)
        self._collect()

    @property
    def record(self) -> CallRecord:
        return self.caller.record

    def run_to(self, seconds: float) -> Call:
        """Wake the caller at each of its deadlines until `seconds`."""
        while (at := self.caller.next_deadline()) is not None and at <= OPENED_AT + seconds:
            self._advance(max(at, self._now))
        self._advance(OPENED_AT + seconds)
        return self

    def wake_late(self, seconds: float) -> Call:
        """Wake the caller for the first time again at `seconds`, whatever was due before."""
        self._advance(OPENED_AT + seconds)
        return self

    def let_pass(self, seconds: float) -> Call:
        """Let the time be `seconds` without waking the caller."""
        self._now = OPENED_AT + seconds
        return self

    def receive(self, message: object) -> None:
        text = message if isinstance(message, str | bytes) else json.dumps(message)
        self.caller.received(text, self._now)
        self._collect()

    def media(self, payload: bytes) -> None:
        body = {"payload": b64encode(payload).decode()}
        self.receive({"event": "media", "streamSid": self.record.stream_sid, "media": body})

    def mark(self, name: str) -> None:
        sid = self.record.stream_sid
        self.receive({"event": "mark", "streamSid": sid, "mark": {"name": name}})

    def clear(self) -> None:
        self.receive({"event": "clear", "streamSid": self.record.stream_sid})

    def close(self, code: int, reason: str = "") -> None:
        self.caller.closed(code, reason, self._now)
        self._collect()

    def messages(self, event: str | None = None) -> list[dict[str, Any]]:
        """What was sent as text, decoded; only `event`s of that name if one is given."""
        texts = [json.loads(text) for _, text in self.sent if isinstance(text, str)]
        return [text for text in texts if event in {None, text["event"]}]

    def times(self, event: str) -> list[float]:
        """When messages of this name left."""
        return [
            at
            for at, text in self.sent
            if isinstance(text, str) and json.loads(text)["event"] == event
        ]

    def echoes(self) -> list[tuple[float, str]]:
        names = [message["mark"]["name"] for message in self.messages("mark")]
        return list(zip(self.times("mark"), names, strict=True))

    def closes(self) -> list[Close]:
        return [sent for _, sent in self.sent if isinstance(sent, Close)]

    def heard(self) -> list[tuple[float, bytes]]:
        return [(round(span.at - OPENED_AT, 6), span.payload) for span in self.record.heard]

    def _advance(self, now: float) -> None:
        self._now = now
        self.caller.advance(now)
        self._collect()

    def _collect(self) -> None:
        at = round(self._now - OPENED_AT, 6)
        self.sent += [(at, message) for message in self.caller.take_outgoing()]
