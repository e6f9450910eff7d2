"""The socket to the model, over websocket-client: one thread reads, one writes."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import websocket

from callengine.edges.flow import Flow
from callengine.edges.outbox import Outbox
from callengine.errors import EdgeClosed
from callengine.logs import QuietLog, trace_of
from callengine.messages import EndCause, ModelAlive, ModelClosed, ModelConnected, ModelMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from loguru import Logger

FromModel: TypeAlias = ModelConnected | ModelMessage | ModelAlive | ModelClosed

CONNECT_TIMEOUT_S: Final = 8.0
CLOSE_TIMEOUT_S: Final = 1.0
"""A model that has not answered our close by then is cut off."""

PING_AFTER_S: Final = 15.0
"""A model that has nothing to say for this long is asked whether it is there."""

MAX_MEDIA: Final = 500
"""Ten seconds of caller audio that the model has not read: the session is lost."""

REFUSALS: Final = {3000, 4000}
"""Close codes of a bad key and of the beta API shape."""


class RealtimeSocket:
    """A `ModelLink` to an OpenAI Realtime server: one connection after the other."""

    def __init__(self, url: str, api_key: str | None, log: Logger) -> None:
        self._url = url
        self._api_key = api_key
        self._log = log
        self._life = threading.Lock()  # an engine that stops may close before the call connects
        self._closed = False
        self._connection: _Connection | None = None

    def connect(self, tell_bridge: Callable[[FromModel], None], flow: Callable[[], None]) -> None:
        """See `ModelLink.connect`."""
        with self._life:
            if self._closed:
                return
            if self._connection is not None:
                self._connection.close()
            self._connection = _Connection(
                self._url, self._api_key, self._log, tell=tell_bridge, flow=flow
            )

    def send_media(self, message: str) -> None:
        """See `ModelLink.send_media`."""
        if self._connection is not None:
            self._connection.outbox.send_media(message)

    def send(self, message: str) -> None:
        """See `ModelLink.send`."""
        if self._connection is not None:
            self._connection.outbox.send_ahead(message)

    def close(self) -> None:
        """See `ModelLink.close`."""
        with self._life:
            self._closed = True
            if self._connection is not None:
                self._connection.close()

    def join(self, timeout_s: float) -> None:
        """Wait until nothing of the last connection is left."""
        if self._connection is not None:
            self._connection.join(timeout_s)


class _Connection:
    """One WebSocket and its two threads."""

    def __init__(
        self,
        url: str,
        api_key: str | None,
        log: Logger,
        *,
        tell: Callable[[FromModel], None],
        flow: Callable[[], None],
    ) -> None:
        self._url = url
        self._headers = [f"Authorization: Bearer {api_key}"] if api_key else []
        self._log = log
        self._tell, self._flow = tell, flow
        self._socket = websocket.WebSocket(
            enable_multithread=True,
            # Its validator in pure Python costs 0.6 ms per delta; str.decode does the same.
            skip_utf8_validation=True,
            sockopt=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self._closing = threading.Event()
        self._ended = threading.Event()
        self.outbox = Outbox(
            self._send,
            name="callengine-model-writer",
            max_media=MAX_MEDIA,
            on_stall=self._stalled,
            log=log,
        )
        self._reader = threading.Thread(
            target=self._run, name="callengine-model-reader", daemon=True
        )
        self._reader.start()

    def close(self) -> None:
        """Close behind what is queued; a second call does nothing."""
        self._closing.set()
        # A writer that is stuck holds the socket's lock: only a cut frees it.
        self.outbox.close(self._hang_up, if_stuck=self._cut)

    def join(self, timeout_s: float) -> None:
        """Wait for both threads."""
        self.outbox.join(timeout_s)
        self._reader.join(timeout_s)

    # ---- threads

    def _stalled(self) -> None:
        self._tell(ModelClosed(EndCause.MODEL_LOST, "the model has stopped reading"))

    def _send(self, message: str) -> None:
        try:
            self._socket.send(message)
        except (websocket.WebSocketException, OSError) as error:
            self._cut()  # so that the reader notices, and tells the cause if the model gave one
            raise EdgeClosed(1006, type(error).__name__) from None

    def _hang_up(self) -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            self._socket.send_close()
        # Cutting at once would lose what the model has not read yet.
        if not self._ended.wait(CLOSE_TIMEOUT_S):
            self._cut()

    def _cut(self) -> None:
        plug = self._socket.sock
        if plug is not None:
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            closed = self._connect() or self._read()
        except Exception as error:  # noqa: BLE001 - without a reader the call would be deaf
            QuietLog(self._log).warning("socket failed", **trace_of(error))
            closed = ModelClosed(EndCause.MODEL_LOST, f"the socket failed: {type(error).__name__}")
        self._ended.set()
        self._socket.shutdown()  # type: ignore[no-untyped-call]
        if not self._closing.is_set():
            self._tell(closed)

    def _connect(self) -> ModelClosed | None:
        try:
            self._socket.connect(  # type: ignore[no-untyped-call]
                self._url,
                header=self._headers,
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
        if self._closing.is_set():
            self._cut()  # the call ended while we were connecting
        self._socket.settimeout(PING_AFTER_S)
        self._tell(ModelConnected())
        return None

    def _read(self) -> ModelClosed:
        flow = Flow(self._flow)
        while True:
            try:
                opcode, frame = self._socket.recv_data_frame(control_frame=True)
            except websocket.WebSocketTimeoutException:
                self._ping()
                continue
            except (websocket.WebSocketException, OSError) as error:
                told = f"the model's socket broke: {type(error).__name__}"
                return ModelClosed(EndCause.MODEL_LOST, told)
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return _read_close(frame.data)
            if opcode == websocket.ABNF.OPCODE_PONG:
                self._tell(ModelAlive())
            elif opcode in {websocket.ABNF.OPCODE_TEXT, websocket.ABNF.OPCODE_BINARY}:
                self._tell(ModelMessage(frame.data))
                flow.told()

    def _ping(self) -> None:
        with contextlib.suppress(websocket.WebSocketException, OSError):
            self._socket.ping()


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
