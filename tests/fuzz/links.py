"""The two sockets of a fuzzed call: they read what the engine sends as strictly as the real peers.

An AssertionError raised here is a crash of the actor that sent it, and is found as one.
"""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from typing import TYPE_CHECKING, Final

from callengine.audio.g711 import FRAME_BYTES
from callengine.messages import ModelConnected
from callengine.testing.caller import checks
from callengine.testing.realtime import events as server
from callengine.testing.realtime.script import Behaviour
from callengine.testing.realtime.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.actors.realtime_bridge import FromModel

MAX_MARKS_KEPT: Final = 300


class StrictCarrier:
    """A `CarrierLink` into the void. It keeps only the marks that may be echoed, newest first."""

    def __init__(self, stream_sid: Callable[[], str]) -> None:
        self._stream_sid = stream_sid
        self.marks: list[str] = []
        self.sent: Counter[str] = Counter()
        self.closed = False

    def send_media(self, message: str) -> None:
        got = checks.check(message, self._stream_sid())
        assert isinstance(got, checks.MediaIn), got
        assert len(got.payload) == FRAME_BYTES
        self._note("media")

    def send(self, message: str) -> None:
        got = checks.check(message, self._stream_sid())
        assert isinstance(got, checks.MarkIn), got
        self.marks = [got.name, *self.marks[: MAX_MARKS_KEPT - 1]]
        self._note("mark")

    def send_first(self, message: str) -> tuple[int, int]:
        assert checks.check(message, self._stream_sid()) == checks.ClearIn()
        self._note("clear")
        return 0, 0

    def _note(self, kind: str) -> None:
        assert not self.closed, f"{kind} behind the close"
        self.sent[kind] += 1

    def close(self, code: int, reason: str) -> None:
        assert 1000 <= code <= 1011
        assert len(reason.encode()) <= 123, "a close frame has no room for more"
        self.closed = True


class StrictModel:
    """A `ModelLink` into the void. What the model says is told by the fuzzed call."""

    def __init__(self) -> None:
        self.tell: Callable[[FromModel], None] | None = None
        self.appended_bytes = 0
        self._session = Session(Behaviour())
        self._closed = False

    def connect(self, tell_bridge: Callable[[FromModel], None]) -> None:
        self.tell = tell_bridge
        self._session = Session(Behaviour())
        tell_bridge(ModelConnected())

    def send_media(self, message: str) -> None:
        audio = b64decode(self._checked(message, "input_audio_buffer.append")["audio"])
        assert audio, "the server refuses an empty one"
        self.appended_bytes += len(audio)

    def send(self, message: str) -> None:
        event = self._checked(message)
        if event["type"] == "session.update":
            self._session.check(event["session"], audio_was_sent=False)

    def _checked(self, message: str, kind: str | None = None) -> dict[str, str]:
        assert not self._closed, "sent behind the close"
        event = server.read(message)
        server.check(event)
        assert kind in {None, event["type"]}
        return event

    def close(self) -> None:
        self._closed = True
