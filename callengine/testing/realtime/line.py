"""The simulated server's end of the socket: order, latency, and the faults of the line itself.

Carries events out and keeps the appointments of the server; it refuses to know what events mean,
except to which response they belong, because faults speak of the n-th response.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from callengine.testing.peer import Close, Outgoing
from callengine.testing.realtime.faults import (
    After,
    AtAppend,
    AtResponseDone,
    CloseSocket,
    DuplicateEvents,
    Fault,
    GoSilent,
    NoCreated,
    NoDone,
    RenameEvents,
    SendRaw,
    StopHearing,
    Trigger,
)
from callengine.testing.realtime.record import Event, Record

RESPONSE_ID_PREFIX: Final = "resp_sim"

_STRIKING: Final = (CloseSocket, GoSilent, SendRaw, StopHearing)
_UNTOLD: Final[dict[str, type[NoCreated | NoDone]]] = {
    "response.created": NoCreated,
    "response.done": NoDone,
}

Action = Callable[[float], None]
F = TypeVar("F")


_encode: Final = json.JSONEncoder(ensure_ascii=False).encode


def response_id(number: int) -> str:
    """The id of the n-th response, from 1."""
    return f"{RESPONSE_ID_PREFIX}{number:04d}"


def faults_of(kind: type[F], faults: Iterable[Fault]) -> list[F]:
    """The faults of one kind, in order."""
    return [fault for fault in faults if isinstance(fault, kind)]


class Agenda:
    """Actions with a due time; they are told that time, however late they run."""

    def __init__(self) -> None:
        self._entries: list[tuple[float, int, Action]] = []
        self._made = 0

    def at(self, due: float, action: Action) -> None:
        """Run `action(due)` when it is due; of two due together the earlier made runs first."""
        self._made += 1
        heapq.heappush(self._entries, (due, self._made, action))

    def run(self, now: float) -> None:
        """Run everything due up to `now`, including what that makes due."""
        while self._entries and self._entries[0][0] <= now:
            due, _, action = heapq.heappop(self._entries)
            action(due)

    def next_due(self) -> float | None:
        """When the next action is due."""
        return self._entries[0][0] if self._entries else None

    def clear(self) -> None:
        """Forget all actions."""
        self._entries.clear()


class Line:
    """Sends the server's events, in order, as far as the faults let it."""

    def __init__(
        self,
        agenda: Agenda,
        record: Record,
        faults: tuple[Fault, ...],
        latency_s: float,
        *,
        ids_from: int = 0,
    ) -> None:
        self._agenda = agenda
        self._record = record
        self._latency_s = latency_s
        self._ids_from = ids_from
        self._faults = faults
        self._waiting = [f for f in faults if isinstance(f, _STRIKING)]
        self._outgoing: list[Outgoing] = []
        self.is_deaf = False
        self._is_mute = False
        self._events_made = 0

    def open(self, now: float) -> None:
        """Let the faults strike that wait for nothing, and arm those that wait for a time."""
        for fault in self._waiting:
            if isinstance(fault.at, After) and fault.at.seconds > 0:
                self._agenda.at(now + fault.at.seconds, self.strike)
        self.strike(now)

    def send(self, event_type: str, now: float, **body: Any) -> bool:  # noqa: ANN401 - JSON
        """Send one event; its `event_id` is made here. False if the line is mute."""
        if self._is_mute:
            return False
        self._events_made += 1
        event = {
            "type": self._name_of(event_type),
            "event_id": f"event_sim{self._events_made:06d}",
            **body,
        }
        for _ in range(self._copies(event_type, body)):
            self._record.sent.append(Event(now, event))
            self._transmit(_encode(event), now)
        return True

    def strike(self, now: float) -> None:
        """Let every fault strike whose moment has come."""
        due = [fault for fault in self._waiting if self._has_come(fault.at, now)]
        self._waiting = [fault for fault in self._waiting if fault not in due]
        for fault in due:
            if isinstance(fault, GoSilent):
                self._is_mute = True
            elif isinstance(fault, StopHearing):
                self.is_deaf = True
            elif isinstance(fault, CloseSocket):
                self._close(fault, now)
            elif not self._is_mute:
                self._note_raw(fault.message, now)
                self._transmit(fault.message, now)

    def end(self) -> None:
        """The socket is gone: send nothing more."""
        self._is_mute = True

    def take(self) -> list[Outgoing]:
        """What has arrived at the other end of the latency."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def _close(self, fault: CloseSocket, now: float) -> None:
        """Silence does not keep a socket open; only a closed one cannot be closed again."""
        if self._record.closed is None:
            self._transmit(Close(fault.code, fault.reason, fault.abrupt), now)
            self._record.closed = (fault.code, fault.reason, now)
            self._is_mute = True

    def _transmit(self, message: Outgoing, now: float) -> None:
        if self._latency_s > 0:
            self._agenda.at(now + self._latency_s, lambda _: self._outgoing.append(message))
        else:
            self._outgoing.append(message)

    def _note_raw(self, message: str | bytes, now: float) -> None:
        try:
            body = json.loads(message)
        except (ValueError, RecursionError):
            return
        if isinstance(body, dict):
            self._record.sent.append(Event(now, body))

    def _has_come(self, trigger: Trigger, now: float) -> bool:
        record = self._record
        if isinstance(trigger, After):
            return record.opened_at is not None and now >= record.opened_at + trigger.seconds
        if isinstance(trigger, AtAppend):
            return record.appends_received >= trigger.number
        if len(record.responses) < trigger.number:
            return False
        made = record.responses[trigger.number - 1]
        if isinstance(trigger, AtResponseDone):
            return made.done_at is not None
        return made.created_at is not None and made.audio_ms_sent >= trigger.audio_ms

    def _name_of(self, event_type: str) -> str:
        for fault in faults_of(RenameEvents, self._faults):
            for ours, sent in fault.names:
                if ours == event_type:
                    return sent
        return event_type

    def _copies(self, event_type: str, body: dict[str, Any]) -> int:
        owner = body.get("response_id") or body.get("response", {}).get("id")
        if owner is None:
            return 1
        number = int(owner.removeprefix(RESPONSE_ID_PREFIX)) - self._ids_from
        untold = _UNTOLD.get(event_type)
        if untold and any(f.response_number == number for f in faults_of(untold, self._faults)):
            return 0
        doubled = any(
            fault.response_number == number and event_type in fault.types
            for fault in faults_of(DuplicateEvents, self._faults)
        )
        return 2 if doubled else 1
