"""The socket to the model, over websocket-client: connected on a thread, then run by the loop."""

from __future__ import annotations

import io
import os
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import websocket

from callengine.edges.outlet import Outlet
from callengine.edges.stream import Stream
from callengine.logs import QuietLog, trace_of
from callengine.messages import EndCause, ModelAlive, ModelClosed, ModelConnected, ModelMessage
from callengine.wire.text_frame import MASK_BYTES, FrameReader, client_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loguru import Logger

    from callengine.actors.loop import Loop
    from callengine.actors.threads import Threads
    from callengine.wire.text_frame import Bytes

FromModel: TypeAlias = ModelConnected | ModelMessage | ModelAlive | ModelClosed

CONNECT_TIMEOUT_S: Final = 8.0
CLOSE_TIMEOUT_S: Final = 1.0
"""A model that has not answered our close by then is cut off."""

PING_AFTER_S: Final = 15.0
"""A model that has nothing to say for this long is asked whether it is there."""

MAX_MEDIA: Final = 500
"""Ten seconds of caller audio that the model has not read: the session is lost."""

MASKS: Final = 256
"""Drawn at once, for five seconds of audio: a system call for each costs four times as much."""

REFUSALS: Final = {3000, 4000}
"""Close codes of a bad key and of the beta API shape."""


class RealtimeSocket:
    """A `ModelLink` to an OpenAI Realtime server: one connection after the other."""

    def __init__(
        self, loop: Loop, threads: Threads, url: str, api_key: str | None, log: Logger
    ) -> None:
        self._loop = loop
        self._threads = threads
        self._url = url
        self._headers = [f"Authorization: Bearer {api_key}"] if api_key else []
        self._log = QuietLog(log)
        self._life = threading.Lock()  # an engine that stops may close before the call connects
        self._closed = False
        self._connection: _Connection | None = None

    def connect(self, tell_bridge: Callable[[FromModel], None]) -> None:
        """See `ModelLink.connect`."""
        with self._life:
            if self._closed:
                return
            if self._connection is not None:
                self._connection.close()
            connection = _Connection(self._loop, tell_bridge, self._log)
            self._connection = connection
        self._threads.run(lambda: connection.connect(self._url, self._headers))

    def send_media(self, message: str) -> None:
        """See `ModelLink.send_media`."""
        connection = self._connection
        if connection is not None and connection.outlet is not None:
            connection.outlet.send_media(message)

    def send(self, message: str) -> None:
        """See `ModelLink.send`."""
        if self._connection is not None and self._connection.outlet is not None:
            self._connection.outlet.send_ahead(message)

    def close(self) -> None:
        """See `ModelLink.close`. Any thread may."""
        with self._life:
            self._closed = True
            if self._connection is not None:
                self._connection.close()

    def join(self, timeout_s: float) -> None:
        """For another thread: wait until nothing of the last connection is left."""
        if self._connection is not None:
            self._connection.ended.wait(timeout_s)


class _Connection:
    """One WebSocket. `connect` is for a thread of its own, the rest for the loop's."""

    def __init__(self, loop: Loop, tell: Callable[[FromModel], None], log: QuietLog) -> None:
        self.ended = threading.Event()
        self._loop = loop
        self._tell = tell
        self._log = log
        self._socket = websocket.WebSocket(
            # Its validator in pure Python costs 0.6 ms per delta; str.decode does the same.
            skip_utf8_validation=True,
            sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self._plug: _Plug | None = None
        self.outlet: Outlet | None = None
        self._reader = FrameReader(self._take_text, self._take_other, masked=False)
        self._masks = _masks()
        self._heard_at = 0.0
        self._closing = False

    # ---- before there is a socket

    def connect(self, url: str, headers: list[str]) -> None:
        """Open the WebSocket, and hand it to the loop."""
        try:
            failure = self._connect(url, headers)
        except Exception as error:  # noqa: BLE001 - the call would wait for ever
            self._log.warning("socket failed", **trace_of(error))
            told = f"the socket failed: {type(error).__name__}"
            failure = ModelClosed(EndCause.MODEL_LOST, told)
        if not self._loop.call_soon(lambda: self._connected(failure)):
            self._socket.shutdown()  # type: ignore[no-untyped-call]
            self.ended.set()

    def _connect(self, url: str, headers: list[str]) -> ModelClosed | None:
        if self._closing:
            return ModelClosed(EndCause.MODEL_LOST, "nobody waits for it")
        try:
            self._socket.connect(  # type: ignore[no-untyped-call]
                url,
                header=headers,
                timeout=CONNECT_TIMEOUT_S,
                suppress_origin=True,
                redirect_limit=0,
            )
        except websocket.WebSocketBadStatusException as error:
            refused = error.status_code in {401, 403}
            cause = EndCause.MODEL_REFUSED if refused else EndCause.MODEL_UNREACHABLE
            hint = "; check OPENAI_API_KEY" if refused else ""
            return ModelClosed(cause, f"the model answered HTTP {error.status_code}{hint}")
        except (websocket.WebSocketException, OSError, ValueError) as error:
            told = f"no connection to the model: {type(error).__name__}"
            return ModelClosed(EndCause.MODEL_UNREACHABLE, told)
        return None

    def _connected(self, failure: ModelClosed | None) -> None:
        if failure is not None or self._closing:
            self._socket.shutdown()  # type: ignore[no-untyped-call]
            self._end(failure)
            return
        plug = self._socket.sock
        assert plug is not None, "it is connected"
        self._plug = _Plug(self._loop, plug, self)
        self._socket.sock = self._plug  # type: ignore[assignment]
        self.outlet = Outlet(
            self._plug.stream,
            self._mask,
            max_media=MAX_MEDIA,
            on_stall=self._stalled,
            media_in_pairs=True,
        )
        self._tell(ModelConnected())
        self._heard_at = self._loop.now()
        self._listen()
        self._plug.stream.start()

    # ---- out

    def _mask(self, message: str) -> bytes:
        return client_frame(message, next(self._masks))

    def close(self) -> None:
        """Close behind what is queued; a second call does nothing. Any thread may."""
        if not self._loop.call_soon(self._close):
            self.ended.set()  # the loop has closed its sockets when it ended

    def _close(self) -> None:
        if self._closing:
            return
        self._closing = True
        if self.outlet is not None:
            # Cutting at once would lose what the model has not read yet.
            self._loop.call_at(self._loop.now() + CLOSE_TIMEOUT_S, self._cut)
            self.outlet.close(self._send_close)
        elif self._socket.sock is not None:  # the answer to the upgrade is not waited for
            with suppress(OSError):
                socket.socket.shutdown(self._socket.sock, socket.SHUT_RDWR)

    def _send_close(self) -> None:
        self._socket.send_close()

    def _stalled(self) -> None:
        self._end(ModelClosed(EndCause.MODEL_LOST, "the model has stopped reading"))
        self._cut()

    # ---- in

    def received(self, data: bytes) -> None:
        """See `StreamUser.received`."""
        self._heard_at = self._loop.now()
        self._reader.feed(data)

    def _take_text(self, payload: Bytes, _: Bytes) -> None:
        if not self._closing:
            self._tell(ModelMessage(bytes(payload)))

    def _take_other(self, data: Bytes) -> None:
        assert self._plug is not None, "it is what has read"
        self._plug.feed(data)
        try:
            opcode, frame = self._socket.recv_data_frame(control_frame=True)
        except BlockingIOError:
            pass  # a piece of a message: the rest is still to come
        except (websocket.WebSocketException, OSError) as error:
            self.lost(type(error).__name__)
        else:
            self._take(opcode, frame)

    def _take(self, opcode: int, frame: websocket.ABNF) -> None:
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self._end(_read_close(frame.data))
            self._cut()
        elif self._closing:
            pass  # nobody wants to know
        elif opcode == websocket.ABNF.OPCODE_PONG:
            self._tell(ModelAlive())
        elif opcode in {websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY}:
            self._tell(ModelMessage(frame.data))

    def lost(self, why: str) -> None:
        """See `StreamUser.lost`."""
        self._end(ModelClosed(EndCause.MODEL_LOST, f"the model's socket broke: {why}"))
        self._cut()

    def writable(self) -> None:
        """See `StreamUser.writable`."""
        assert self.outlet is not None, "it has written"
        self.outlet.writable()

    def _listen(self) -> None:
        """Ask a model that has nothing to say whether it is there."""
        if self.ended.is_set() or self._closing:
            return
        if self._loop.now() >= self._heard_at + PING_AFTER_S:
            self._heard_at = self._loop.now()
            self._socket.ping()
        self._loop.call_at(self._heard_at + PING_AFTER_S, self._listen)

    # ---- the end

    def _end(self, closed: ModelClosed | None) -> None:
        """Tell, once, how it ended; not if that was our wish."""
        if not self.ended.is_set() and not self._closing and closed is not None:
            self._tell(closed)
        self._closing = True
        if self._plug is None:
            self.ended.set()

    def _cut(self) -> None:
        if self._plug is not None:
            self._plug.stream.close()
        self.ended.set()


def _masks() -> Iterator[bytes]:
    """What to mask frames with: nobody can foretell it, and no byte is given twice."""
    while True:
        drawn = os.urandom(MASKS * MASK_BYTES)
        for at in range(0, len(drawn), MASK_BYTES):
            yield drawn[at : at + MASK_BYTES]


class _Plug:
    """What websocket-client takes for a socket: it gives a frame that came, and takes any."""

    def __init__(self, loop: Loop, plug: socket.socket, user: _Connection) -> None:
        self.stream = Stream(loop, plug, user)
        self._frame = io.BytesIO()

    def feed(self, frame: Bytes) -> None:
        """A whole frame that came."""
        self._frame = io.BytesIO(frame)

    def recv(self, size_bytes: int) -> bytes:
        """At most so many of its bytes. Raises BlockingIOError if none is left."""
        data = self._frame.read(size_bytes)
        if not data:
            raise BlockingIOError
        return data

    def send(self, data: bytes) -> int:
        """Take all of it."""
        self.stream.write(data)
        return len(data)

    def gettimeout(self) -> float:
        """It never waits."""
        return 0.0

    def close(self) -> None:
        """Close the socket."""
        self.stream.close()


def _read_close(payload: Any) -> ModelClosed:  # noqa: ANN401 - bytes, or a str when empty
    data = payload if isinstance(payload, bytes) else b""
    code = struct.unpack("!H", data[:2])[0] if len(data) >= 2 else 1005
    return why_closed(code, data[2:].decode(errors="replace"))


def why_closed(code: int, reason: str) -> ModelClosed:
    """What the model means by a close code: a refusal, the end of the session, or a loss."""
    reason = reason[:120]
    told = f"the model closed with {code} {reason}".rstrip()
    if code in REFUSALS:
        return ModelClosed(EndCause.MODEL_REFUSED, told)
    expired = code == 1001 and "maximum duration" in reason
    return ModelClosed(EndCause.SESSION_EXPIRED if expired else EndCause.MODEL_LOST, told)
