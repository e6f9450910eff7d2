from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from callengine.machines.dead_air import MAX_FILLS, REPEAT_S, DeadAir

CLIP = b"\x10" * 8_000
LIMIT_S = 2.5


def owing(fallback: bytes = CLIP) -> DeadAir:
    air = DeadAir(LIMIT_S)
    air.owe(fallback)
    assert air.listen(10.0, audible=False) is None
    return air


def test_nothing_is_owed_and_nothing_is_said() -> None:
    air = DeadAir(LIMIT_S)
    assert air.listen(0.0, audible=False) is None
    assert air.listen(60.0, audible=False) is None
    assert air.next_deadline() is None
    assert air.longest_s == 0.0


def test_the_fallback_comes_when_the_silence_has_lasted_too_long_and_not_before() -> None:
    air = owing()
    assert air.next_deadline() == 12.5
    assert air.listen(12.4, audible=False) is None
    assert air.listen(12.5, audible=False) == CLIP
    assert air.longest_s == 2.5


def test_silence_is_counted_from_where_sound_ended() -> None:
    air = DeadAir(LIMIT_S)
    air.owe(CLIP)
    air.listen(10.0, audible=True)
    assert air.next_deadline() is None
    air.listen(14.0, audible=False)
    assert air.next_deadline() == 16.5


def test_what_was_owed_and_came_ends_the_wait() -> None:
    air = owing()
    air.settle(11.0)
    assert air.longest_s == 1.0
    assert air.listen(20.0, audible=False) is None
    air.owe(CLIP)
    air.listen(21.0, audible=False)
    assert air.next_deadline() == 23.5, "the next wait begins anew"


def test_the_fallback_is_repeated_after_a_longer_silence_and_not_for_ever() -> None:
    air, now, said_at = owing(), 10.0, []
    for _ in range(1000):
        now += 0.1
        audible = bool(said_at) and now < said_at[-1] + 1.0
        if air.listen(now, audible=audible) is not None:
            said_at.append(now)
    assert len(said_at) == MAX_FILLS
    assert said_at[1] - said_at[0] >= 1.0 + REPEAT_S - 0.11
    assert air.next_deadline() is None
    assert air.longest_s > 80.0, "what nobody breaks is counted all the same"


def test_a_sentence_that_stops_in_the_middle_is_owed_its_rest() -> None:
    air = owing()
    air.settle(11.0)
    assert air.listen(20.0, audible=False, mid_sentence=True) is None
    assert air.next_deadline() == 22.5
    assert air.listen(22.5, audible=False, mid_sentence=True) == CLIP
    assert air.listen(23.0, audible=True) is None
    assert air.listen(30.0, audible=False) is None
    assert air.next_deadline() is None, "it was all there would be"


def test_owing_the_same_again_does_not_begin_the_wait_anew() -> None:
    air = owing()
    air.owe(CLIP)
    assert air.next_deadline() == 12.5


def test_without_a_fallback_silence_is_only_counted() -> None:
    air = owing(b"")
    assert air.next_deadline() is None
    assert air.listen(30.0, audible=False) is None
    assert air.longest_s == 20.0


@given(
    st.lists(
        st.tuples(st.sampled_from(["owe", "settle", "hear", "quiet"]), st.floats(0.0, 5.0)),
        max_size=50,
    )
)
@example([("owe", 0), ("quiet", 0), ("quiet", 3), ("quiet", 4), ("quiet", 4), ("settle", 5)])
def test_no_silence_that_is_owed_outlasts_the_limit_unless_the_fallback_was_said_too_often(
    steps: list[tuple[str, float]],
) -> None:
    air, now, fills, too_often = DeadAir(LIMIT_S), 0.0, 0, False
    for step, wait_s in steps:
        until = now + wait_s
        while (due := air.next_deadline()) is not None and due <= until:
            now = due
            fills += air.listen(now, audible=False) is not None
            too_often |= fills >= MAX_FILLS
        now = until
        match step:
            case "owe":
                air.owe(CLIP)
            case "settle":
                air.settle(now)
                fills = 0
            case _:
                air.listen(now, audible=step == "hear")
        assert fills <= MAX_FILLS
        if not too_often:
            assert air.longest_s <= REPEAT_S + 1e-9


STEPS = st.tuples(
    st.sampled_from(["owe", "owe without words", "settle", "heard", "silent", "mid-sentence"]),
    st.sampled_from([0.0, 0.5, 3.0, 5.0]),
)


@given(st.lists(STEPS, max_size=30), st.booleans())
def test_at_rest_neither_a_settlement_nor_a_silence_changes_anything(
    steps: list[tuple[str, float]], audible: bool
) -> None:
    """`Transmission` does not even ask then."""
    air, now = DeadAir(LIMIT_S), 0.0
    for step, after_s in steps:
        now += after_s
        match step:
            case "owe":
                air.owe(CLIP)
            case "owe without words":
                air.owe(b"")
            case "settle":
                air.settle(now)
            case "mid-sentence":
                air.listen(now, audible=False, mid_sentence=True)
            case _:
                air.listen(now, audible=step == "heard")
        if not air.at_rest:
            continue
        before = dict(vars(air))
        air.settle(now)
        assert air.listen(now, audible=audible) is None
        assert vars(air) == before
        assert air.next_deadline() is None


def test_who_waits_or_has_been_told_to_wait_is_not_at_rest() -> None:
    air = DeadAir(LIMIT_S)
    assert air.at_rest
    air.owe(CLIP)
    assert not air.at_rest
    air.settle(1.0)
    assert air.at_rest
    air.listen(1.0, audible=False, mid_sentence=True)
    assert not air.at_rest
