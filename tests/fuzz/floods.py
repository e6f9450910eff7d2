"""One hostile peer each: it says the same few things for ever, with new ids every time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tests.fuzz import seeds
from tests.fuzz.script import Script, Step, What
from tests.wire.golden_frames import replaced

if TYPE_CHECKING:
    from collections.abc import Callable

_CARRIER, _MODEL = seeds.CARRIER, seeds.MODEL


def _says(example: str, **values: object) -> Step:
    frame = _MODEL[example]
    for path, value in values.items():
        frame = replaced(frame, path.replace("__", "."), value)
    return Step(What.MODEL, json.dumps(frame))


def _sends(example: str, **values: object) -> Step:
    frame = _CARRIER[example]
    for path, value in values.items():
        frame = replaced(frame, path.replace("__", "."), value)
    return Step(What.CARRIER, json.dumps(frame))


def _delta(response: str, item: str, delta: str = "/w==") -> Step:
    return _says("response.output_audio.delta", response_id=response, item_id=item, delta=delta)


def _once(n: int, *steps: Step) -> Script:
    return list(steps) if n == 0 else []


FLOODS: Final[dict[str, Callable[[int], Script]]] = {
    "unknown_kinds": lambda n: [Step(What.MODEL, json.dumps({"type": f"newer.{n}"}))],
    "not_json": lambda n: [Step(What.MODEL, "{" * (n % 90)), Step(What.CARRIER, "{" * (n % 90))],
    "error_codes": lambda n: [
        _says("error_server", error__code=f"code_{n}", error__type="t" * 3000)
    ],
    "speech_over_silent_responses": lambda n: [
        _says("response.created", response__id=f"resp_{n}"),
        _says("input_audio_buffer.speech_started"),
        _says("response.done_cancelled_turn_detected", response__id=f"resp_{n}"),
    ],
    "responses_that_never_end": lambda n: [_says("response.created", response__id=f"resp_{n}")],
    "responses_of_one_byte": lambda n: [
        _says("response.created", response__id=f"resp_{n}"),
        _delta(f"resp_{n}", f"item_{n}"),
        _says("response.done_completed", response__id=f"resp_{n}"),
    ],
    "items_of_one_byte": lambda n: [
        *_once(n, _says("response.created", response__id="resp_0")),
        _delta("resp_0", f"item_{n}"),
    ],
    "items_by_turns": lambda n: [
        *_once(n, _says("response.created", response__id="resp_0")),
        _delta("resp_0", f"item_{n % 2}"),
    ],
    "an_hour_in_a_second": lambda n: [
        *_once(n, _says("response.created", response__id="resp_0")),
        _delta("resp_0", "item_0", "AAAA" * 20_000),
    ],
    "audio_behind_an_interruption": lambda n: [
        *_once(
            n,
            _says("response.created", response__id="resp_0"),
            _delta("resp_0", "item_0", "AAAA" * 4000),
            Step(What.WAIT_MS, 300),
            *seeds.Caller().speaks(6),
        ),
        _delta("resp_0", f"item_{n}", "AAAA" * 20_000),
    ],
    "audio_of_nobody": lambda n: [_delta(f"resp_{n}", f"item_{n}")],
    "asides": lambda n: [
        _says(
            "response.created",
            response__id=f"resp_{n}",
            response__conversation_id=None,
            response__metadata={"topic": "x"},
        ),
        _delta(f"resp_{n}", f"item_{n}"),
    ],
    "tools": lambda n: [
        _says("response.function_call_arguments.done", call_id=f"call_{n}", name="transfer_call")
    ],
    "transcripts": lambda n: [
        _says("conversation.item.input_audio_transcription.completed", item_id=f"item_{n}"),
        _says("response.output_audio_transcript.done", item_id=f"item_{n}"),
    ],
    "marks_nobody_sent": lambda n: [_sends("mark", mark__name=f"g0-r{n}-000000")],
    "keys": lambda n: [_sends("dtmf", dtmf__digit=str(n % 10))],
    "frames_of_one_byte": lambda n: [
        _sends("media", sequenceNumber=n, media__timestamp=n, media__payload="/w==")
    ],
    "an_hour_between_frames": lambda n: [
        _sends("media", sequenceNumber=n, media__timestamp=n * 3_600_000)
    ],
    "a_clock_that_runs_backwards": lambda n: [
        _sends("media", sequenceNumber=10**9 - n * 100, media__timestamp=10**9 - n * 100)
    ],
    "unknown_carrier_events": lambda n: [Step(What.CARRIER, json.dumps({"event": f"newer_{n}"}))],
}


def flood(name: str, rounds: int) -> Script:
    """A call in which a peer does that so many times; now and then a little time passes."""
    greeting = [*seeds.speaks("resp_hello", "create-1"), Step(What.WAIT_MS, 1500)]
    script = [*seeds.Caller().opens(), *seeds.accepts(), *greeting]
    for n in range(rounds):
        script += FLOODS[name](n)
        if n % 50 == 49:
            script.append(Step(What.WAIT_MS, 1))
    return script
