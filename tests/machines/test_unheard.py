from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.machines.unheard import MAX_ITEMS, SendTruncate, Unheard
from callengine.messages import HeardItem

ONE, TWO = ("i1", 0), ("i2", 0)


def received(*sizes_ms: int, generation: int = 0, protected: bool = False) -> Unheard:
    """Items i1, i2... of response r1, so much of each."""
    unheard = Unheard()
    for number, size_ms in enumerate(sizes_ms, start=1):
        key = (f"i{number}", 0)
        unheard.received(key, "r1", size_ms * 8, generation, protected=protected)
    return unheard


def test_nothing_is_truncated_of_the_generation_being_played() -> None:
    assert received(100, generation=1).truncate(1) == []


def test_l3_what_was_cut_off_is_truncated_to_what_was_heard() -> None:
    assert received(100).truncate(1, (HeardItem("i1", 0, 60),)) == [SendTruncate("i1", 0, 60)]


def test_l3_a_truncate_never_exceeds_what_was_received() -> None:
    unheard = Unheard()
    unheard.received(ONE, "r1", 807, 0, protected=False)
    assert unheard.truncate(1, (HeardItem("i1", 0, 5000),)) == [SendTruncate("i1", 0, 100)]


def test_l3_items_that_were_not_reached_are_truncated_to_nothing() -> None:
    """C-A 48."""
    assert received(100, 50).truncate(1, (HeardItem("i1", 0, 60),)) == [
        SendTruncate("i1", 0, 60),
        SendTruncate("i2", 0, 0),
    ]


def test_two_parts_of_one_item_are_told_apart() -> None:
    unheard = Unheard()
    for index in (0, 1):
        unheard.received(("i1", index), "r1", 800, 0, protected=False)
    heard = (HeardItem("i1", 1, 30), HeardItem("i1", 0, 100))
    assert unheard.truncate(1, heard) == [SendTruncate("i1", 0, 100), SendTruncate("i1", 1, 30)]


def test_l3_an_item_is_never_truncated_twice_even_if_more_of_it_comes() -> None:
    unheard = received(100)
    unheard.truncate(1)
    unheard.received(ONE, "r1", 800, 0, protected=False)
    assert unheard.truncate(2) == []
    assert not unheard.holds("r1")


def test_what_was_heard_to_its_end_is_not_truncated() -> None:
    unheard = received(100, 50)
    unheard.received(("other", 0), "r2", 800, 0, protected=False)
    assert unheard.holds("r1")
    unheard.heard("r1")
    assert not unheard.holds("r1")
    assert unheard.truncate(1) == [SendTruncate("other", 0, 0)]


def test_l9_what_is_protected_is_not_truncated() -> None:
    unheard = received(100, protected=True)
    assert unheard.truncate(1) == []
    assert unheard.holds("r1")


def test_what_is_resumed_can_be_cut_off_again() -> None:
    unheard = received(100)
    unheard.resumed(1)
    assert unheard.truncate(1) == []
    assert unheard.truncate(2, (HeardItem("i1", 0, 90),)) == [SendTruncate("i1", 0, 90)]


def test_items_under_way_are_bounded() -> None:
    unheard = received(*[10] * (MAX_ITEMS + 1))
    truncated = [truncate.item_id for truncate in unheard.truncate(1)]
    assert len(truncated) == MAX_ITEMS
    assert "i1" not in truncated


def test_the_memory_of_truncated_items_is_bounded() -> None:
    unheard = received(*[10] * MAX_ITEMS)
    unheard.truncate(1)
    unheard.received(("last", 0), "r2", 80, 1, protected=False)
    unheard.truncate(2)
    unheard.received(ONE, "r1", 80, 1, protected=False)  # forgotten
    unheard.received(TWO, "r1", 80, 1, protected=False)  # remembered
    assert unheard.truncate(2) == [SendTruncate("i1", 0, 0)]


@dataclass(frozen=True)
class Piece:
    item: int
    size_bytes: int
    claim_ms: int


PIECES = st.builds(Piece, st.integers(0, 5), st.integers(0, 9000), st.integers(0, 2000))


@settings(deadline=None)
@given(st.lists(st.lists(PIECES, max_size=6), max_size=6))
def test_l3_whatever_playout_claims(generations: list[list[Piece]]) -> None:
    unheard = Unheard()
    received_bytes: dict[str, int] = {}
    truncated: list[str] = []
    for generation, pieces in enumerate(generations):
        for piece in pieces:
            item_id = f"i{piece.item}"
            key = (item_id, 0)
            unheard.received(key, "r", piece.size_bytes, generation, protected=False)
            received_bytes[item_id] = received_bytes.get(item_id, 0) + piece.size_bytes
        heard = tuple(HeardItem(f"i{piece.item}", 0, piece.claim_ms) for piece in pieces)
        for truncate in unheard.truncate(generation + 1, heard):
            assert truncate.audio_end_ms * 8 <= received_bytes[truncate.item_id]
            truncated.append(truncate.item_id)
    assert sorted(truncated) == sorted(set(received_bytes))


def test_what_was_dropped_is_truncated_once_the_rest_was_heard() -> None:
    unheard = received(100)
    unheard.dropped(ONE, "r1", 800, 0)
    assert unheard.truncate(0) == []
    assert unheard.heard("r1") == [SendTruncate("i1", 0, 100)]
    assert not unheard.holds("r1")


def test_what_was_never_played_is_truncated_to_nothing_whatever_its_generation() -> None:
    unheard = Unheard()
    unheard.dropped(ONE, "r1", 800, 5)
    assert unheard.truncate(5) == [SendTruncate("i1", 0, 0)]
    unheard.dropped(ONE, "r1", 800, 5)
    assert unheard.truncate(5) == [], "once is enough"
