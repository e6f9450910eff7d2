"""One call of the bench: its caller and its ear on one socket, its model on the other."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Final

from callengine.testing.bench import codec
from callengine.testing.bench.codec import CodecError, Inbox
from callengine.testing.bench.ear import TEXT_BYTES, Ear, Heard
from callengine.testing.bench.loop import Wire
from callengine.testing.bench.model import Model

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from callengine.testing.bench.caller import Caller
    from callengine.testing.bench.loop import Loop

_MEDIA_END: Final = b'"}}'


class CarrierEnd:
    """The caller's socket, from the upgrade to the close."""

    def __init__(self, caller: Caller, place: int, plug: socket.socket, loop: Loop) -> None:
        self.caller = caller
        self.ear = Ear()
        self.over = False
        self.fault = ""
        self.responses = 0
        self._place = place
        self._loop = loop
        self.wire = Wire(plug, loop, self)
        self._inbox = Inbox(masked=False)
        self._head: bytes | None = b""
        self._key = base64.b64encode(random.Random(caller.number).randbytes(16)).decode()
        self._hangs_up = False
        sid = caller.stream_sid.encode()
        self._media_head = b'{"event":"media","streamSid":"%b","media":{"payload":"' % sid
        self._media_bytes = len(self._media_head) + TEXT_BYTES + len(_MEDIA_END)

    def dial(self, path: str, host: str) -> None:
        """Ask for the upgrade; the socket may still be connecting."""
        self.wire.send(codec.upgrade_request(path, host, self._key))

    def hang_up(self) -> None:
        """Send `stop` in place of the next frame."""
        self._hangs_up = True

    # ---- the loop

    def tick(self, now: float) -> None:
        """20 ms of the caller's voice."""
        if self._hangs_up:
            self._loop.take_place(self._place, None)
            self.wire.send(self.caller.stop())
            return
        message, onset = self.caller.frame(now)
        if onset:
            self.ear.onset(now)
        self.wire.send(message)

    def received(self, data: bytes, now: float) -> None:
        """Bytes of the engine."""
        try:
            if not data:
                self._end("" if self._hangs_up else "the engine cut the line")
            elif self._head is not None:
                self._upgraded(self._head + data, now)
            else:
                for opcode, message in self._inbox.take(data):
                    self._message(opcode, message, now)
        except CodecError as error:
            self._end(str(error))

    def _upgraded(self, data: bytes, now: float) -> None:
        parts = codec.split_head(data)
        if parts is None:
            self._head = data
            return
        head, rest = parts
        codec.check_upgraded(head, self._key)
        self._head = None
        self.wire.send(self.caller.connected() + self.caller.start())
        self.caller.begin(now)
        self._loop.take_place(self._place, self)
        if rest:
            self.received(rest, now)

    def _message(self, opcode: int, message: bytes, now: float) -> None:
        if opcode == codec.TEXT:
            if len(message) == self._media_bytes and message.startswith(self._media_head):
                self._media(message[len(self._media_head) : -len(_MEDIA_END)], now)
            else:
                self._any_message(message, now)
        elif opcode == codec.CLOSE:
            self._closed(message)
        elif opcode == codec.PING:
            self._send(message, codec.PONG)

    def _media(self, payload: bytes, now: float) -> None:
        heard = self.ear.media(payload, now)
        if heard is Heard.FIRST:
            self.caller.reply_began(now)
        elif heard is Heard.LAST:
            self.caller.reply_ended(self.ear.plays_until)

    def _mark(self, name: str, now: float) -> None:
        self._loop.at(self.ear.mark(name, now), lambda at: self._echo(self.ear.played(at)))

    def _echo(self, names: list[str]) -> None:
        if names and not self._hangs_up:
            self.wire.send(b"".join(map(self.caller.mark, names)))

    def _any_message(self, message: bytes, now: float) -> None:
        """Twilio does not mind how its JSON is spelled, but drops what has a field too many."""
        event = _parsed(message)
        kind = event.get("event")
        body = event.get(kind) if isinstance(kind, str) else None
        bare = {"event": kind, "streamSid": self.caller.stream_sid}
        match body:
            case {"payload": str(text)} if event == {**bare, "media": {"payload": text}}:
                self._media(text.encode(), now)
            case {"name": str(name)} if event == {**bare, "mark": {"name": name}}:
                self._mark(name, now)
            case None if event == {**bare, "event": "clear"}:
                self._echo(self.ear.clear(now))
            case _:
                raise CodecError(f"not what Twilio takes: {message[:80].decode(errors='replace')}")

    def _send(self, message: bytes, opcode: int) -> None:
        self.wire.send(codec.encode(message, masked=True, opcode=opcode))

    def _closed(self, message: bytes) -> None:
        self._send(message[:2], codec.CLOSE)
        code = int.from_bytes(message[:2], "big") if len(message) >= 2 else 1005
        told = f"closed with {code} {message[2:].decode(errors='replace')}".rstrip()
        self._end("" if self._hangs_up and code == 1000 else told)

    def _end(self, fault: str) -> None:
        if not self.over:
            self.over = True
            self.fault = fault
            self.ear.close()
            self._loop.take_place(self._place, None)
            self.wire.close()


class ModelEnd:
    """The model's socket: whose it is tells the session's configuration."""

    def __init__(
        self, plug: socket.socket, loop: Loop, find: Callable[[str], CarrierEnd | None]
    ) -> None:
        self.model = Model(self)
        self.fault = ""
        self.over = False
        self._inbox = Inbox(masked=True)
        self._head: bytes | None = b""
        self._loop = loop
        self._find = find
        self._carrier: CarrierEnd | None = None
        self.wire = Wire(plug, loop, self)

    # ---- the line of the model

    def send(self, messages: bytes) -> None:
        """See `Line.send`."""
        self.wire.send(messages)

    def at(self, when: float, action: Callable[[float], None]) -> None:
        """See `Line.at`."""

        def unless_over(now: float) -> None:
            if not self.over:
                action(now)

        self._loop.at(when, unless_over)

    def speaks(self, number: int, now: float) -> None:
        """See `Line.speaks`."""
        if self._carrier is not None:
            self._carrier.responses = number
            self._carrier.ear.expect(number, now)

    def configured(self, instructions: str) -> int:
        """See `Line.configured`."""
        self._carrier = self._find(instructions)
        return self._carrier.responses if self._carrier is not None else 0

    # ---- the loop

    def received(self, data: bytes, now: float) -> None:
        """Bytes of the engine."""
        try:
            if not data:
                self._end("")
            elif self._head is not None:
                self._upgrade(self._head + data, now)
            else:
                for opcode, message in self._inbox.take(data):
                    self._message(opcode, message, now)
        except CodecError as error:
            self._end(str(error))

    def _upgrade(self, data: bytes, now: float) -> None:
        parts = codec.split_head(data)
        if parts is None:
            self._head = data
            return
        head, rest = parts
        self.wire.send(codec.accept_upgrade(head))
        self._head = None
        self.model.open(now)
        if rest:
            self.received(rest, now)

    def _message(self, opcode: int, message: bytes, now: float) -> None:
        if opcode == codec.TEXT:
            self.model.received(message, now)
        elif opcode == codec.PING:
            self.wire.send(codec.encode(message, masked=False, opcode=codec.PONG))
        elif opcode == codec.CLOSE:
            self.wire.send(codec.encode(message[:2], masked=False, opcode=codec.CLOSE))
            self._end("")

    def _end(self, fault: str) -> None:
        if not self.over:
            self.over = True
            self.fault = fault
            self.wire.close()


def _parsed(message: bytes) -> dict[str, object]:
    try:
        event = json.loads(message)
    except ValueError:
        event = None
    return event if isinstance(event, dict) else {}
