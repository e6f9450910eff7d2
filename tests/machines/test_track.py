from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from callengine.machines.track import Track
from callengine.messages import HeardItem


def track(*sizes: tuple[str, int]) -> Track:
    made = Track("r1", 1, 0, protected=False)
    for item_id, size in sizes:
        made.append(item_id, 0, bytes(size))
    return made


def test_audio_of_the_same_item_lengthens_it_and_of_another_begins_one() -> None:
    made = track(("a", 100), ("a", 60), ("b", 80), ("a", 8))
    stretches = [(item.item_id, item.start, item.received) for item in made.items]
    assert stretches == [("a", 0, 160), ("b", 160, 80), ("a", 240, 8)]
    assert (made.received, len(made.queued)) == (248, 248)


def test_another_part_of_the_same_item_is_another_item() -> None:
    made = track(("a", 80))
    assert made.continues("r1", "a", 0)
    assert not made.continues("r1", "a", 1)
    assert not made.continues("r2", "a", 0)
    assert not track().continues("r1", "a", 0)


def test_it_is_over_when_it_is_complete_and_heard_to_its_end() -> None:
    made = track(("a", 160))
    made.heard = 160
    assert not made.over
    made.complete = True
    assert made.over
    made.heard = 159
    assert not made.over


@given(st.lists(st.integers(1, 900), min_size=1, max_size=6), st.integers(0, 6000))
def test_what_was_heard_is_shared_out_among_the_items_in_their_order(
    sizes: list[int], heard: int
) -> None:
    made = track(*[(f"i{n}", size) for n, size in enumerate(sizes)])
    made.heard = min(heard, made.received)
    left = made.heard
    expected = []
    for n, size in enumerate(sizes):
        expected.append(HeardItem(f"i{n}", 0, min(left, size) // 8))
        left -= min(left, size)
    assert list(made.heard_items()) == expected
