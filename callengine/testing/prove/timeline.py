"""A call told message by message, for people."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final

from callengine.actors.shell import Peers
from callengine.messages import (
    CallerFrame,
    CarrierMessage,
    DeadlineReached,
    FrameSent,
    ModelMessage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.testing.prove.scenario import Scenario

MAX_CHARS: Final = 150

_EVERY_FRAME: Final = (CallerFrame, FrameSent, DeadlineReached)
_EVERY_FRAME_EVENTS: Final = {"media", "input_audio_buffer.append"}


class Timeline:
    """Collects what a `Watch` is told; what recurs with every frame is only counted."""

    def __init__(self, *, with_frames: bool = False) -> None:
        self._with_frames = with_frames
        self._rows: list[tuple[float, str, str]] = []
        self._passed_over = 0

    def __call__(self, now: float, where: str, message: object) -> None:
        """See `Watch`."""
        told = _told(message)
        if not self._with_frames and (isinstance(message, _EVERY_FRAME) or told is None):
            self._passed_over += 1
            return
        self._rows.append((now, where, told or repr(message)))

    def lines(self) -> Iterator[str]:
        """The timeline, a message a line: when, who handles it, what."""
        for now, where, told in self._rows:
            yield f"{now:9.4f}  {where:<18} {told[:MAX_CHARS]}"
        if self._passed_over:
            yield f"({self._passed_over} messages that recur with every frame are not shown)"


def _told(message: object) -> str | None:
    """A message in short; None for audio, 50 times a second."""
    if isinstance(message, CarrierMessage | ModelMessage):
        message = message.message
    if isinstance(message, str):
        return _wire(message)
    if isinstance(message, Peers):
        return "Peers()"  # the same for all, but for ids that are new each time
    if isinstance(message, bytes) or not is_dataclass(message):
        return repr(message)
    values = ((each.name, getattr(message, each.name)) for each in fields(message))
    return f"{type(message).__name__}({', '.join(f'{n}={_short(v)}' for n, v in values)})"


def _wire(message: str) -> str | None:
    try:
        body = json.loads(message)
    except ValueError:
        return repr(message)
    if not isinstance(body, dict):
        return repr(message)
    kind = body.get("type") or body.get("event")
    if kind in _EVERY_FRAME_EVENTS:
        return None
    rest = {k: v for k, v in body.items() if k not in {"type", "event", "streamSid", "event_id"}}
    return f"{kind} {_short(rest)}"


def _short(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str) and len(value) > 40:
        return f"<{len(value)} characters>"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_short(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_short, value)) + "]"
    if isinstance(value, float):
        return f"{value:.4f}"
    return str(value)


def describe(scenario: Scenario) -> Iterator[str]:
    """The event script: the caller's steps, what goes wrong, and all that is unusual."""
    for step in scenario.script + scenario.ending:
        values = (f"{f.name}={_short(getattr(step, f.name))}" for f in fields(step))
        yield f"caller   {type(step).__name__}({', '.join(values)})"
    for trouble in scenario.troubles:
        what = [*trouble.model, *([trouble.hiccup] if trouble.hiccup else [])]
        yield f"trouble  {trouble.kind}: {', '.join(map(repr, what)) or 'in the script'}"
    for number, plan in enumerate(scenario.replies, 1):
        yield f"reply {number}  {plan}"
    yield from _unusual(scenario, "call")
    yield from _unusual(scenario.behaviour, "model")


_TOLD_ABOVE: Final = {"script", "ending", "replies", "troubles", "behaviour"}


def _unusual(settings: Any, what: str) -> Iterator[str]:  # noqa: ANN401
    for each in fields(settings):
        value = getattr(settings, each.name)
        if each.name not in _TOLD_ABOVE and value != each.default:
            yield f"{what:<8} {each.name}={value}"
