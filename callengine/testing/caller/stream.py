"""What Twilio sends on a bidirectional stream: ids, counters, media time and the JSON of it.

Decides the content of each message, not when it leaves. Source: Twilio's "Media Streams - WebSocket
Messages"; first timestamp and spacing as logged from real calls.
"""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

from callengine.testing.caller.faults import NumberStyle

TIMESTAMP_STEP_MS: Final = 19.97
"""Mean spacing of real media timestamps; each is rounded to a whole millisecond."""


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()
"""As a value in `start_overrides`: leave the field out."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What the stream is about. Ids left as None are made from the caller's seed.

    `custom_parameters` are the `<Parameter>`s of the TwiML. Give `call_sid` to attach a second
    stream to the same call. Without `sends_connected` the stream opens with `start`.
    """

    custom_parameters: Mapping[str, str] = field(default_factory=dict)
    account_sid: str | None = None
    call_sid: str | None = None
    stream_sid: str | None = None
    sends_connected: bool = True


class TwilioStream:
    """Composes the messages of one stream, in the order they are asked for.

    Everything but `connected` draws from one sequence counter that starts at 1 with `start`; the
    numbers are JSON strings, unless a `style` is given.
    """

    def __init__(self, facts: StreamFacts, seed: int, style: NumberStyle | None = None) -> None:
        rng = random.Random(seed)
        account_sid, call_sid, stream_sid = (f"{rng.getrandbits(128):032x}" for _ in range(3))
        self.account_sid = facts.account_sid or f"AC{account_sid}"
        self.call_sid = facts.call_sid or f"CA{call_sid}"
        self.stream_sid = facts.stream_sid or f"MZ{stream_sid}"
        self._custom_parameters = dict(facts.custom_parameters)
        self._timestamp_ms = rng.randint(102, 171)
        self._style = style
        self._sequence = 0
        self._chunk = 0

    def connected(self) -> str:
        """The greeting of the protocol, before everything else."""
        return _encode({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self, overrides: Mapping[str, object]) -> str:
        """The start message; `overrides` are merged into its `start` object, however deep."""
        start: dict[str, object] = {
            "accountSid": self.account_sid,
            "streamSid": self.stream_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": self._custom_parameters,
        }
        return self._message("start", _merged(start, overrides))

    def media(self, payload: bytes, slot: float) -> str:
        """Caller audio; `slot` counts the 20 ms of the stream, also those not sent."""
        self._chunk += 1
        body = {
            "track": "inbound",
            **self._number("chunk", self._chunk),
            **self._number("timestamp", self._timestamp_ms + round(slot * TIMESTAMP_STEP_MS)),
            "payload": b64encode(payload).decode(),
        }
        return self._message("media", body)

    def skip_time(self, milliseconds: int) -> None:
        """Let the media timestamps jump from here on."""
        self._timestamp_ms += milliseconds

    def count_from(self, sequence: int) -> None:
        """Let the next message have this sequence number."""
        self._sequence = sequence - 1

    def dtmf(self, digit: str) -> str:
        """A key pressed by the caller."""
        return self._message("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> str:
        """The echo of a mark."""
        return self._message("mark", {"name": name})

    def stop(self) -> str:
        """The end of the stream."""
        body = {"accountSid": self.account_sid, "callSid": self.call_sid}
        return self._message("stop", body)

    def _message(self, event: str, body: Mapping[str, object]) -> str:
        self._sequence += 1
        return _encode(
            {
                "event": event,
                **self._number("sequenceNumber", self._sequence),
                event: body,
                "streamSid": self.stream_sid,
            }
        )

    def _number(self, name: str, value: int) -> dict[str, object]:
        match self._style:
            case None:
                return {name: str(value)}
            case NumberStyle.INTEGERS:
                return {name: value}
            case NumberStyle.WORDS:
                return {name: f"no. {value}"}
            case NumberStyle.MISSING:
                return {}
            case _:
                assert_never(self._style)


def _merged(base: Mapping[str, object], overrides: Mapping[str, object]) -> dict[str, object]:
    result = dict(base)
    for key, value in overrides.items():
        below = result.get(key)
        if value is ABSENT:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(below, Mapping):
            result[key] = _merged(below, value)
        else:
            result[key] = value
    return result


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
