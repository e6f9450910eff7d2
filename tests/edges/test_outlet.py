"""What leaves through a stream that is blocked for as long as a test wants it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.edges.outlet import Outlet

if TYPE_CHECKING:
    from callengine.edges.stream import Stream

MAX_MEDIA = 4


class Wire:
    """A stream, and what was written on it. It takes `room` messages before it is blocked."""

    def __init__(self, room: float = float("inf")) -> None:
        self.room = room
        self.written: list[str] = []
        self.stalls = 0
        self.outlet = Outlet(
            cast("Stream", self), str.encode, max_media=MAX_MEDIA, on_stall=self._stalled
        )

    @property
    def blocked(self) -> bool:
        return self.room <= 0

    def open(self, room: float = float("inf")) -> None:
        """It takes more."""
        self.room = room
        self.outlet.writable()

    def last(self, name: str = "last") -> Any:  # noqa: ANN401 - what a close is given
        return lambda: self.written.append(name)

    def write(self, data: bytes) -> None:
        assert not self.blocked, "nothing is written on a stream that is blocked"
        self.room -= 1
        self.written.append(data.decode())

    def _stalled(self) -> None:
        self.stalls += 1


def test_what_the_stream_takes_leaves_at_once() -> None:
    wire = Wire()
    wire.outlet.send_media("audio")
    wire.outlet.send("mark")
    wire.outlet.send_ahead("cancel")
    assert wire.outlet.send_first("clear") == (0, 0)
    assert wire.written == ["audio", "mark", "cancel", "clear"]


def test_what_has_to_wait_leaves_in_order() -> None:
    wire = Wire(room=1)
    for message in ("a", "mark a", "b", "mark b"):
        (wire.outlet.send if "mark" in message else wire.outlet.send_media)(message)
    assert wire.written == ["a"]
    wire.open(room=2)
    assert wire.written == ["a", "mark a", "b"]
    wire.outlet.send_media("c")
    wire.open()
    assert wire.written == ["a", "mark a", "b", "mark b", "c"]


@given(
    st.lists(
        st.one_of(st.sampled_from(["media", "other", "ahead"]), st.integers(1, 3)), max_size=40
    )
)
def test_nothing_is_lost_or_doubled_whenever_the_stream_blocks(steps: list[str | int]) -> None:
    """Each kind leaves in its own order; what is not ahead keeps the order of both kinds."""
    wire = Wire(room=0)
    sent: dict[str, list[str]] = {"ahead": [], "behind": []}
    outlet = wire.outlet
    for n, step in enumerate(steps):
        message = f"{step} {n}"
        match step:
            case int():
                wire.open(room=step)
            case "ahead":
                outlet.send_ahead(message)
                sent["ahead"].append(message)
            case "media" if len([each for each in sent["behind"] if "media" in each]) < MAX_MEDIA:
                outlet.send_media(message)
                sent["behind"].append(message)
            case "other":
                outlet.send(message)
                sent["behind"].append(message)
    outlet.close(wire.last())
    wire.open()
    assert wire.written[-1] == "last"
    assert [each for each in wire.written if "ahead" in each] == sent["ahead"]
    assert [each for each in wire.written[:-1] if "ahead" not in each] == sent["behind"]
    assert wire.stalls == 0


def test_what_is_sent_ahead_overtakes_audio_but_not_its_own_kind() -> None:
    wire = Wire(room=0)
    wire.outlet.send_media("audio")
    wire.outlet.send_ahead("cancel")
    wire.outlet.send_ahead("truncate")
    wire.open()
    assert wire.written == ["cancel", "truncate", "audio"]


@pytest.mark.edge_case(80)
def test_send_first_overtakes_and_counts_what_it_dropped() -> None:
    wire = Wire(room=0)
    wire.outlet.send_media("a")
    wire.outlet.send("mark a")
    wire.outlet.send_media("b")
    assert wire.outlet.send_first("clear") == (2, 1)
    wire.outlet.send_media("after")
    wire.open()
    assert wire.written == ["clear", "after"]


@pytest.mark.edge_case(27)
def test_too_much_audio_that_waits_gives_the_stream_up_once() -> None:
    wire = Wire(room=0)
    for n in range(MAX_MEDIA):
        wire.outlet.send_media(str(n))
    assert wire.stalls == 0
    wire.outlet.send_media("one too many")
    wire.outlet.send_media("and another")
    wire.outlet.send("a mark")
    wire.outlet.send_ahead("a cancel")
    assert wire.outlet.send_first("a clear") == (0, 0)
    assert wire.stalls == 1
    wire.open()
    assert wire.written == [], "nobody waits for it any more"
    wire.outlet.close(wire.last())
    assert wire.written == ["last"]


def test_audio_that_has_left_makes_room_for_more() -> None:
    wire = Wire(room=0)
    for n in range(MAX_MEDIA):
        wire.outlet.send_media(str(n))
    wire.open(room=MAX_MEDIA)
    for n in range(MAX_MEDIA):
        wire.outlet.send_media(str(n))
    assert wire.outlet.send_first("clear") == (MAX_MEDIA, 0)
    for n in range(MAX_MEDIA):
        wire.outlet.send_media(str(n))
    assert wire.stalls == 0


def test_the_last_thing_is_done_behind_what_waits_and_nothing_more_is_taken() -> None:
    wire = Wire(room=0)
    wire.outlet.send_media("goodbye")
    wire.outlet.close(wire.last())
    wire.outlet.send("too late")
    wire.outlet.send_media("too late as well")
    wire.outlet.send_ahead("too late even so")
    assert wire.outlet.send_first("far too late") == (0, 0)
    assert wire.written == []
    wire.open(room=1)
    assert wire.written == ["goodbye"]
    wire.open()
    assert wire.written == ["goodbye", "last"]
    wire.open()
    assert wire.written == ["goodbye", "last"]


@pytest.mark.parametrize("room", [0, 1])
def test_only_the_first_close_counts(room: int) -> None:
    wire = Wire(room=room)
    wire.outlet.close(wire.last())
    wire.outlet.close(wire.last("second"))
    wire.open()
    wire.outlet.close(wire.last("third"))
    assert wire.written == ["last"]
