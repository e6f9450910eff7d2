"""The judge must be able to condemn: each of these frames is wrong in one way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.openai_types import validate_client, validate_server
from tests.wire.golden_frames import frames, replaced, without

SERVER = frames("openai_ga", "server")
CLIENT = frames("openai_ga", "client")


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "response.cancelled", "event_id": "e"},
        without(SERVER["response.output_audio.delta"], "item_id"),
        replaced(SERVER["response.output_audio.delta"], "content_index", "0"),
        replaced(SERVER["response.output_audio.delta"], "delta", "%%%"),
        replaced(
            SERVER["response.done_completed"], "response.output_modalities", ["text", "audio"]
        ),
        {**SERVER["response.created"], "newer": 1},
        replaced(SERVER["session.created"], "session.audio.input.newer", 1),
        replaced(SERVER["session.updated"], "session.audio.input.format", "g711_ulaw"),
    ],
)
def test_a_wrong_server_frame_is_condemned(frame: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        validate_server(frame)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "input_audio_buffer.add", "audio": "//8="},
        {"type": "input_audio_buffer.append"},
        {"type": "input_audio_buffer.append", "audio": "_-8="},
        {**CLIENT["response.cancel"], "reason": "barge-in"},
        without(CLIENT["session.update"], "session.type"),
        replaced(CLIENT["session.update"], "session.voice", "marin"),
        replaced(CLIENT["session.update"], "session.output_modalities", ["text", "audio"]),
        replaced(CLIENT["session.update"], "session.audio.input.format.rate", 8000),
        replaced(CLIENT["session.update"], "session.audio.input.turn_detection.eagerness", "low"),
    ],
)
def test_a_wrong_client_frame_is_condemned(frame: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        validate_client(frame)
