"""Twilio and its callers, as a server sees them: the signed webhook, the signed upgrade, a call."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from callengine.testing import SimulatedCaller
from callengine.testing.caller.stream import StreamFacts
from callengine.testing.sockets import run_client
from tests.edges.hosted import Callers
from tests.edges.twilio_signed import CALL, PUBLIC_URL, signed_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.testing.caller.record import CallRecord
    from callengine.testing.caller.script import Step

INCOMING: Final = "/voice/incoming"
READY: Final = "/voice/ready"
HEARD_S: Final = 15.0
CALL_S: Final = 60.0

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Line:
    """Where a webhook's TwiML connects a call to."""

    call_sid: str
    url: str
    parameters: dict[str, str]

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    @property
    def headers(self) -> dict[str, str]:
        """Of an upgrade, signed."""
        return {"x-twilio-signature": signed_headers(self.url)["x-twilio-signature"]}


class Caller(SimulatedCaller):
    """May be told to hang up before his script is over: once he has heard something whole.

    A script can only wait for silence, and a caller whose machine stands still for a while takes
    that for one, with the rest of what was said unread.
    """

    hangs_up_after: bytes | None = None

    def advance(self, now: float) -> None:
        super().advance(now)
        line, last = self._line, self.hangs_up_after
        if last is not None and not line.over and last in heard(line.record):
            line.hang_up()


class LiveCall:
    """A call that is held on a thread of its own."""

    def __init__(self, caller: Caller, hold: Callable[[Callable[[float], None]], None]) -> None:
        self.record: CallRecord = caller.record
        self._caller = caller
        self._hold = hold
        self._failure: Exception | None = None
        self._ai_is_heard = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-call")
        self._thread.start()

    def wait_until_heard(self) -> None:
        assert self._ai_is_heard.wait(HEARD_S), self._failure or "nothing is heard"

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def hang_up_after(self, audio: bytes) -> None:
        """Let the caller hang up as soon as he has heard this."""
        self._caller.hangs_up_after = audio

    def join(self, timeout_s: float = CALL_S) -> CallRecord:
        """Wait for its end."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure
        return self.record

    def _run(self) -> None:
        try:
            self._hold(self._progress)
        except Exception as failure:  # noqa: BLE001 - raised by join
            self._failure = failure

    def _progress(self, _: float) -> None:
        if self.record.frames:
            self._ai_is_heard.set()


class Phone:
    """Calls the server at a port."""

    def __init__(self, port: int) -> None:
        self.port = port

    # ---- HTTP

    def get(self, path: str) -> tuple[int, str]:
        return Callers().get(self.port, path)

    def ready(self) -> dict[str, Any]:
        """What readiness says, and its `status`."""
        status, body = self.get(READY)
        return {**json.loads(body), "status": status}

    def ring(
        self, *, call_sid: str = "", called: str = "+15550199", signature: str | None = None
    ) -> tuple[int, str]:
        """The webhook's answer."""
        form = {**CALL, "CallSid": call_sid or f"CA{next(_numbers):032x}", "To": called}
        headers = signed_headers(PUBLIC_URL + INCOMING, form)
        if signature is not None:
            headers["x-twilio-signature"] = signature
        return Callers().ask(self.port, INCOMING, "POST", urlencode(form), headers)

    def line(self, *, called: str = "+15550199") -> Line:
        """Let it ring, and read the TwiML."""
        call_sid = f"CA{next(_numbers):032x}"
        status, body = self.ring(call_sid=call_sid, called=called)
        assert status == 200, body
        stream = ElementTree.fromstring(body)[0][0]
        assert stream.tag == "Stream", body
        parameters = {each.attrib["name"]: each.attrib["value"] for each in stream}
        return Line(call_sid, stream.attrib["url"], parameters)

    # ---- the media socket

    def upgrade_status(self, path: str, headers: dict[str, str]) -> int | None:
        """101, or what refuses the socket before it."""
        return Callers().upgrade_status(self.port, path, headers)

    def hold(self, line: Line, *script: Step) -> CallRecord:
        """Hold a call to its end."""
        caller = _caller(line, script)
        self._run(caller, line)
        return caller.record

    def begin(self, line: Line, *script: Step) -> LiveCall:
        """Hold a call on a thread of its own."""
        caller = _caller(line, script)
        return LiveCall(caller, lambda on_progress: self._run(caller, line, on_progress))

    def _run(
        self,
        caller: Caller,
        line: Line,
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        url = f"ws://127.0.0.1:{self.port}{line.path}"
        run_client(caller, url, headers=line.headers, deadline_s=CALL_S, on_progress=on_progress)


def _caller(line: Line, script: tuple[Step, ...]) -> Caller:
    facts = StreamFacts(custom_parameters=line.parameters, call_sid=line.call_sid)
    return Caller(script, stream=facts)


def heard(record: CallRecord) -> bytes:
    """All audio that came, without the gaps."""
    return b"".join(frame.payload for frame in record.frames)
