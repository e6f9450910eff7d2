"""Good input to begin with: messages of both protocols, and the parts that calls are made of.

The ids in calls are those the engine will ask about: its first create is `create-1`.
"""

from __future__ import annotations

import functools
import itertools
import json
from base64 import b64encode
from random import Random
from typing import TYPE_CHECKING, Any, Final

from callengine.audio.g711 import FRAME_BYTES, from_pcm16
from tests.fuzz.script import Script, Step, What
from tests.wire.golden_frames import frames, replaced

if TYPE_CHECKING:
    from collections.abc import Callable

CARRIER: Final = frames("twilio", "in")
MODEL: Final = frames("openai_ga", "server")
TOOLS: Final = ("book_slot", "fail", "transfer_call", "no_such_tool")

_ENDS: Final = [name for name in MODEL if name.startswith("response.done_")]
_COMPLAINTS: Final = ("error_active_response", "error_server", "error_unknown_parameter")

STREAM_SID: Final = CARRIER["start"]["streamSid"]
FRAME_MS: Final = 20


def carrier_messages() -> list[str]:
    """One of each kind, and of each known bad kind."""
    return [json.dumps(frame) for frame in (*CARRIER.values(), *frames("twilio", "bad").values())]


def model_messages() -> list[str]:
    """One of each kind."""
    return [json.dumps(frame) for frame in MODEL.values()]


def _loud(seed: int) -> bytes:
    noise = Random(seed)
    return from_pcm16(
        b"".join(
            noise.randint(-9000, 9000).to_bytes(2, "little", signed=True)
            for _ in range(FRAME_BYTES)
        )
    )


_VOICE: Final = _loud(1)
_HUSH: Final = b"\xff" * FRAME_BYTES


class Caller:
    """Composes what the carrier sends, with a counter and a clock, or (to fit anywhere) without."""

    def __init__(self, *, numbered: bool = True) -> None:
        self._numbered = numbered
        self._sequence = 1
        self._at_ms = 102

    def opens(self) -> Script:
        """`connected` and `start`."""
        return [_carrier(CARRIER["connected"]), _carrier(CARRIER["start"])]

    def speaks(self, frames_: int, audio: bytes = _VOICE) -> Script:
        """So many frames, one every 20 ms."""
        script: Script = []
        for _ in range(frames_):
            self._sequence += 1
            self._at_ms += FRAME_MS
            media = {
                **CARRIER["media"]["media"],
                "chunk": str(self._sequence),
                "timestamp": str(self._at_ms),
                "payload": b64encode(audio).decode(),
            }
            message = {**CARRIER["media"], "sequenceNumber": str(self._sequence), "media": media}
            if not self._numbered:
                del message["sequenceNumber"], media["timestamp"]
            script += [_carrier(message), Step(What.WAIT_MS, FRAME_MS)]
        return script

    def listens(self, frames_: int) -> Script:
        """So many silent frames."""
        return self.speaks(frames_, _HUSH)

    def presses(self, digits: str) -> Script:
        """Keys."""
        return [_carrier(replaced(CARRIER["dtmf"], "dtmf.digit", digit)) for digit in digits]

    def hangs_up(self) -> Script:
        """`stop`."""
        return [_carrier(CARRIER["stop"])]


def _carrier(message: dict[str, Any]) -> Step:
    return Step(What.CARRIER, json.dumps(message))


def _model(*examples: str, **values: object) -> Script:
    """Examples by name, with the named ids put in wherever they occur."""
    return [Step(What.MODEL, json.dumps(_with(MODEL[name], values))) for name in examples]


def _with(value: Any, values: dict[str, object]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, dict):
        return {key: values.get(key, _with(each, values)) for key, each in value.items()}
    if isinstance(value, list):
        return [_with(each, values) for each in value]
    return value


def accepts() -> Script:
    """The session is made and confirmed."""
    return _model("session.created", "session.updated")


def _created(response_id: str, create: str | None, **more: object) -> Step:
    message = _with(MODEL["response.created"], {})  # a copy
    message["response"]["id"] = response_id
    message["response"]["metadata"] = None if create is None else {"client_event_id": create}
    message["response"].update(more)
    return Step(What.MODEL, json.dumps(message))


def _done(response_id: str, example: str = "response.done_completed", **values: object) -> Step:
    message = _with(MODEL[example], values)
    message["response"]["id"] = response_id
    return Step(What.MODEL, json.dumps(message))


def _deltas(response_id: str, item_id: str, sizes: tuple[int, ...]) -> Script:
    ids = {"response_id": response_id, "item_id": item_id}
    return [
        step
        for size in sizes
        for step in _model("response.output_audio.delta", **ids, delta=_sound(size))
    ]


@functools.cache
def _sound(size: int) -> str:
    return b64encode(bytes(n % 251 for n in range(size))).decode()


def speaks(
    response_id: str,
    create: str | None = None,
    *,
    sizes: tuple[int, ...] = (1000, 4133, 159),
    end: str = "response.done_completed",
) -> Script:
    """A response with audio, from its creation to its end."""
    item_id = response_id.replace("resp", "item")
    ids = {"response_id": response_id, "item_id": item_id}
    return [
        _created(response_id, create),
        *_model("response.output_item.added", **ids),
        *_deltas(response_id, item_id, sizes),
        *_model("response.output_audio.done", "response.output_audio_transcript.done", **ids),
        _done(response_id, end),
    ]


def cut_short(response_id: str) -> Script:
    """A response that the caller's voice ends while it is generated."""
    item_id = response_id.replace("resp", "item")
    return [
        _created(response_id, None),
        *_deltas(response_id, item_id, (4000, 4000)),
        Step(What.WAIT_MS, 300),
        *_model("input_audio_buffer.speech_started", item_id="item_u2"),
        *_deltas(response_id, item_id, (1600,)),
        _done(response_id, "response.done_cancelled_turn_detected"),
        *hears("item_u2"),
    ]


def hears(item_id: str) -> Script:
    """A turn of the caller, as the model tells it."""
    return _model(
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.input_audio_transcription.completed",
        item_id=item_id,
    )


def calls_tool(response_id: str, name: str, call_id: str) -> Script:
    """A function call, announced three times."""
    ids = {"call_id": call_id, "name": name}
    announced = ("response.function_call_arguments.done", "response.output_item.done_function_call")
    return [
        _created(response_id, None),
        *_model(*announced, response_id=response_id, **ids),
        _done(response_id, "response.done_function_call", **ids),
    ]


def complains(name: str, caused_by: str | None) -> Script:
    """An error about one of our frames."""
    message = _with(MODEL[name], {})  # a copy
    message["error"]["event_id"] = caused_by
    return [Step(What.MODEL, json.dumps(message))]


def aside(response_id: str) -> Script:
    """A response outside the conversation."""
    item_id = response_id.replace("resp", "item")
    return [
        _created(response_id, None, conversation_id=None, metadata={"topic": "summary"}),
        *_deltas(response_id, item_id, (800,)),
        _done(response_id),
    ]


def chatter(rng: Random, events: int) -> Script:
    """A model that is well-formed and makes no sense: few ids, any order."""
    return [step for _ in range(events) for step in rng.choice(_CHATTER)(rng)]


def _response(rng: Random) -> str:
    return f"resp_{rng.randrange(4)}"


def _item(rng: Random) -> str:
    return f"item_{rng.randrange(4)}"


def _create(rng: Random) -> str | None:
    return rng.choice((None, f"create-{rng.randrange(1, 9)}"))


_CHATTER: Final[list[Callable[[Random], Script]]] = [
    lambda rng: [_created(_response(rng), _create(rng))],
    lambda rng: [_created(_response(rng), None)],
    lambda rng: [_done(_response(rng), rng.choice(_ENDS))],
    lambda rng: [_done(_response(rng), rng.choice(_ENDS))],
    lambda rng: _deltas(_response(rng), _item(rng), (rng.choice((1, 160, 1601, 8000)),)),
    lambda rng: _deltas(_response(rng), _item(rng), (800, 800)),
    lambda rng: _model("input_audio_buffer.speech_started", item_id=_item(rng)),
    lambda rng: hears(_item(rng)),
    lambda rng: calls_tool(_response(rng), rng.choice(TOOLS), f"call_{rng.randrange(30)}"),
    lambda rng: complains(rng.choice(_COMPLAINTS), _create(rng)),
    lambda rng: complains("error_cancel_not_active", f"cancel-{rng.randrange(1, 9)}"),
    lambda rng: [Step(What.WAIT_MS, rng.choice((20, 100, 600, 2100)))],
    lambda rng: [Step(What.ECHO, rng.randrange(3))],
]


_ANOTHER: Final[Script] = [Step(What.MODEL_CLOSED, "gone"), Step(What.WAIT_MS, 300)]
"""The model is lost, and another one is connected to."""


def calls() -> list[Script]:
    """Short calls that between them go everywhere."""
    wait = [Step(What.WAIT_MS, 700)]
    parts: list[list[Script]] = [
        [speaks("resp_1", "create-1"), wait, [Step(What.ECHO, 1)]],
        [speaks("resp_1", "create-1"), wait, hears("item_u1"), speaks("resp_2")],
        [cut_short("resp_1")],
        [cut_short("resp_1"), wait, speaks("resp_2", "create-2")],
        [calls_tool("resp_1", "book_slot", "call_1"), speaks("resp_2", "create-2")],
        [calls_tool("resp_1", "fail", "call_1"), calls_tool("resp_2", "nobody", "call_2")],
        [aside("resp_a"), speaks("resp_1"), aside("resp_b")],
        [speaks("resp_1", "create-1", end="response.done_failed_server_error"), wait],
        [complains("error_active_response", "create-1"), wait, complains("error_server", None)],
        [[Step(What.WAIT_MS, 8_000)], speaks("resp_9")],
        [speaks("resp_1", "create-1"), _ANOTHER, accepts(), hears("item_u1"), speaks("resp_2")],
        [speaks("resp_1")[:-1], _ANOTHER, accepts(), speaks("resp_2", "create-1")],
    ]
    # After each part the caller interrupts (18 loud frames), coughs (6), or lets the model speak.
    return [_call(each, loud) for each in parts for loud in ((18, 0), (6, 0, 18), (0,))]


def _call(parts: list[Script], loud_frames: tuple[int, ...]) -> Script:
    caller = Caller()
    script = [*caller.opens(), *accepts(), *caller.listens(2)]
    for part, loud in zip(parts, itertools.cycle(loud_frames)):
        script += part + caller.speaks(loud) + caller.listens(12 if loud else 4)
    return [*script, *caller.presses("1#"), Step(What.ECHO, 0), *caller.hangs_up()]
