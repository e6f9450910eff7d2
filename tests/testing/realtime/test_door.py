"""The simulated server behind a real socket: who is let in, and the official client at work."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from openai import OpenAI
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from callengine.audio import g711
from callengine.testing import speech
from callengine.testing.realtime.door import refuse_beta_and_bad_keys
from callengine.testing.realtime.faults import key_refused
from callengine.testing.realtime.record import CancelOutcome
from callengine.testing.realtime.script import said
from callengine.testing.realtime.server import SimulatedRealtime
from callengine.testing.sockets import PeerServer
from tests.testing.realtime.rig import PHONE_SESSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.resources.realtime.realtime import RealtimeConnection

    from callengine.testing.realtime.record import Record

KEY = "sk-simulated"

# The openai package opens its sockets in a way that websockets 17.1 calls old.
sdk = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used as a context:DeprecationWarning")


def request(**headers: str) -> Request:
    return Request("/v1/realtime", Headers({k.replace("_", "-"): v for k, v in headers.items()}))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": f"Bearer {KEY}"}, None),
        ({"Authorization": "Bearer other"}, 401),
        ({"Authorization": KEY}, 401),
        ({}, 401),
        ({"Authorization": f"Bearer {KEY}", "OpenAI_Beta": "realtime=v1"}, 400),
    ],
)
def test_only_the_right_key_without_the_beta_header_gets_in(
    headers: dict[str, str], status: int | None
) -> None:
    answer = refuse_beta_and_bad_keys(KEY)(request(**headers))
    assert (answer.status_code if answer else None) == status


def test_any_key_will_do_when_none_is_expected() -> None:
    check = refuse_beta_and_bad_keys()
    assert check(request(Authorization="Bearer whatever")) is None
    assert check(request()) is not None


def client(server: PeerServer) -> OpenAI:
    base = f"//127.0.0.1:{server.port}/v1"
    return OpenAI(api_key=KEY, base_url=f"http:{base}", websocket_base_url=f"ws:{base}")


def until(events: Iterator[Any], event_type: str) -> list[Any]:
    """The events up to and including the first of that type."""
    seen = []
    for event in events:
        seen.append(event)
        if event.type == event_type:
            break
    return seen


def append(connection: RealtimeConnection, audio: bytes) -> None:
    for at in range(0, len(audio), g711.FRAME_BYTES):
        frame = audio[at : at + g711.FRAME_BYTES]
        connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())


def converse(connection: RealtimeConnection) -> bytes:
    """A reply heard to the end, then one that is cancelled and truncated; the first one's audio."""
    events = iter(connection)
    session: Any = PHONE_SESSION
    connection.session.update(session=session)
    until(events, "session.updated")
    append(connection, speech.clip("caller_hello") + g711.silence(600))
    turn = until(events, "response.done")
    connection.response.create()
    first = until(events, "response.output_audio.delta")[-1]
    connection.response.cancel(response_id=first.response_id)
    until(events, "response.done")
    connection.conversation.item.truncate(item_id=first.item_id, content_index=0, audio_end_ms=0)
    until(events, "conversation.item.truncated")
    deltas = [event.delta for event in turn if event.type == "response.output_audio.delta"]
    return b"".join(base64.b64decode(delta) for delta in deltas)


@sdk
@pytest.mark.realtime
def test_the_official_client_holds_a_conversation() -> None:
    check = refuse_beta_and_bad_keys(KEY)

    def make() -> SimulatedRealtime:
        return SimulatedRealtime((said("caller_barge_in_1"), said("agent_reply_1")))

    with PeerServer(make, path="/v1/realtime", check_request=check) as server:
        with client(server) as openai, openai.realtime.connect(model="gpt-realtime-2.1") as socket:
            heard = converse(socket)
        (peer,) = server.peers
        assert isinstance(peer, SimulatedRealtime)
        record: Record = peer.record
    assert heard == speech.clip("caller_barge_in_1")
    assert [made.status for made in record.responses] == ["completed", "cancelled"]
    assert [cancel.outcome for cancel in record.cancels] == [CancelOutcome.CANCELLED]
    assert [cut.accepted for cut in record.truncates] == [True]
    assert record.errors == []
    assert record.misread_bytes == 0


@sdk
@pytest.mark.realtime
def test_a_bad_key_can_be_refused_behind_the_open_socket() -> None:
    def make() -> SimulatedRealtime:
        return SimulatedRealtime((said("agent_greeting"),), faults=key_refused())

    with (
        PeerServer(make, path="/v1/realtime") as server,
        client(server) as openai,
        openai.realtime.connect(model="gpt-realtime-2.1") as socket,
        pytest.raises(ConnectionClosed) as caught,
    ):
        socket.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 3000
