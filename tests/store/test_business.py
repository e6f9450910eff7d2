"""Businesses: what may be kept of one, when it is open, and how it is looked up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from callengine.errors import SettingsError, StoreRefused
from callengine.store import WEEKDAYS, Business, Store, metadata, repository
from callengine.store.business import MAX_CLIP_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = Business(
    called="+15550100",
    name="Müller & Söhne",
    greeting="Say hello.",
    instructions="You are a baker.",
    voice="cedar",
    language="de",
    fallback_text="One moment please.",
    fallback_clip=bytes(range(256)),
    farewell_text="Goodbye.",
    farewell_clip=b"\xff" * 160,
    closed_text="We are closed.",
    transfer_number="+15550111",
    business_hours={"monday": [["09:00", "12:00"], ["13:00", "17:00"]], "friday": []},
    timezone="Europe/Berlin",
)
MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def hours(timezone: str = "UTC", **days: object) -> Business:
    return Business(called="+15550100", business_hours=days, timezone=timezone)  # type: ignore[arg-type]


def at(clock: str, day: datetime = MONDAY) -> datetime:
    hour, minute = clock.split(":")
    return day + timedelta(hours=int(hour), minutes=int(minute))


# ---- hours


def test_without_hours_it_is_always_open() -> None:
    assert Business(called="+15550100").is_open(MONDAY)


@pytest.mark.parametrize(
    ("clock", "is_open"),
    [
        ("08:59", False),
        ("09:00", True),
        ("11:59", True),
        ("12:00", False),
        ("13:00", True),
        ("16:59", True),
        ("17:00", False),
    ],
)
def test_it_is_open_from_the_first_minute_to_before_the_last(clock: str, is_open: bool) -> None:
    shop = hours(monday=[["09:00", "12:00"], ["13:00", "17:00"]])
    assert shop.is_open(at(clock)) is is_open
    assert not shop.is_open(at(clock) + timedelta(days=1)), "tuesday is not listed"


def test_a_span_may_end_on_the_next_day() -> None:
    bar = hours(sunday=[["22:00", "02:00"]])
    assert bar.is_open(at("01:59"))
    assert not bar.is_open(at("02:00"))
    assert bar.is_open(at("22:00") - timedelta(days=1))
    assert not bar.is_open(at("22:00"))


def test_a_whole_day() -> None:
    always = hours(**{day: [["00:00", "24:00"]] for day in WEEKDAYS})
    assert all(always.is_open(MONDAY + timedelta(hours=each)) for each in range(24 * 7))
    monday = hours(monday=[["00:00", "24:00"]])
    assert monday.is_open(at("23:59"))
    assert not monday.is_open(at("24:00"))


def test_the_clock_is_the_business_own_in_summer_and_winter() -> None:
    shop = hours("Europe/Berlin", monday=[["09:00", "17:00"]])
    assert shop.is_open(datetime(2026, 3, 2, 8, 0, tzinfo=UTC))
    assert not shop.is_open(datetime(2026, 3, 2, 7, 59, tzinfo=UTC))
    assert shop.is_open(datetime(2026, 7, 6, 7, 0, tzinfo=UTC))
    assert not shop.is_open(datetime(2026, 7, 6, 15, 0, tzinfo=UTC))


CLOCKS = st.tuples(st.integers(0, 23), st.integers(0, 59)).map("{0[0]:02}:{0[1]:02}".format)


@given(begins=CLOCKS, ends=CLOCKS, minute=st.integers(0, 7 * 24 * 60 - 1))
def test_a_span_is_open_for_as_long_as_it_says(begins: str, ends: str, minute: int) -> None:
    if begins == ends:
        return
    shop = hours(thursday=[[begins, ends]])
    opens = at(begins, MONDAY + timedelta(days=3))
    closes = at(ends, MONDAY + timedelta(days=3 + (ends < begins)))
    moment = MONDAY + timedelta(minutes=minute)
    assert shop.is_open(moment) == (opens <= moment < closes)


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        FULL.is_open(datetime(2026, 3, 2))  # noqa: DTZ001 - that is the point


# ---- what may be kept


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"called": " "}, "number"),
        ({"business_hours": {"Monday": [["09:00", "17:00"]]}}, "Monday"),
        ({"business_hours": {"monday": [["9:00", "17:00"]]}}, "9:00"),
        ({"business_hours": {"monday": [["09:00", "25:00"]]}}, "25:00"),
        ({"business_hours": {"monday": [["24:00", "09:00"]]}}, "24:00"),
        ({"business_hours": {"monday": [["09:00", "09:00"]]}}, "two different"),
        ({"business_hours": {"monday": [["09:00"]]}}, "two different"),
        ({"business_hours": {"monday": [[9, 17]]}}, "must look like"),
        ({"business_hours": {"monday": 9}}, "must look like"),
        ({"business_hours": "always"}, "must look like"),
        ({"timezone": "Europe/Nowhere"}, "Europe/Nowhere"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": ""}, "timezone"),
        ({"fallback_clip": b"\xff" * (MAX_CLIP_BYTES + 1)}, "fallback_clip"),
        ({"instructions": "x" * 20_001}, "instructions"),
        ({"name": "x" * 201}, "name"),
    ],
)
def test_what_cannot_be_kept_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        Business(**({"called": "+15550100"} | wrong))


def test_its_repr_tells_no_number_and_no_clip() -> None:
    told = repr(FULL)
    assert "Müller" in told
    assert "+1555" not in told
    assert "\\xff" not in told


# ---- looked up


def test_what_is_saved_is_looked_up(store: Store) -> None:
    store.save_business(FULL)
    other = Store(store.engine)
    assert other.business("+15550100") == FULL
    assert other.business("+15550199") is None


@pytest.mark.parametrize("called", ["+15550100", " +1 555 0100 ", "+1 (555) 01-00"])
def test_a_number_is_found_however_it_is_spelled(store: Store, called: str) -> None:
    store.save_business(FULL)
    assert store.business(called) == FULL
    assert store.known_business(called) == FULL


def test_saving_again_replaces(store: Store) -> None:
    store.save_business(FULL)
    store.save_business(Business(called="+15550100", name="Baker"))
    assert Store(store.engine).business("+15550100") == Business(called="+15550100", name="Baker")


def test_the_last_known_good_outlives_the_database(store: Store) -> None:
    store.save_business(FULL)
    fresh = Store(store.engine)
    assert fresh.known_business("+15550100") is None
    fresh.business("+15550100")
    with store.engine.begin() as connection:
        connection.execute(text("DROP TABLE callengine_businesses"))
    assert fresh.known_business("+15550100") == FULL
    assert store.known_business("+15550100") == FULL


def test_a_business_that_is_gone_is_not_remembered(store: Store) -> None:
    store.save_business(FULL)
    with store.engine.begin() as connection:
        connection.execute(text("DELETE FROM callengine_businesses"))
    assert store.business("+15550100") is None
    assert store.known_business("+15550100") is None


@pytest.mark.parametrize("hours", ['{"someday": []}', '["a"]', "null"])
def test_a_row_that_was_edited_into_nonsense_is_told(store: Store, hours: str) -> None:
    store.save_business(FULL)
    with store.engine.begin() as connection:
        connection.execute(
            text("UPDATE callengine_businesses SET business_hours = :hours"), {"hours": hours}
        )
    with pytest.raises(StoreRefused, match="business_hours"):
        store.business("+15550100")
    assert store.known_business("+15550100") == FULL


def test_what_is_remembered_has_a_bound(
    monkeypatch: pytest.MonkeyPatch, small_store: Store
) -> None:
    monkeypatch.setattr(repository, "MAX_KNOWN_BUSINESSES", 2)
    one, two, three = (f"+1555010{each}" for each in range(3))
    for called in (one, two):
        small_store.save_business(Business(called=called))
    assert small_store.known_business(one) is not None
    small_store.save_business(Business(called=three))
    assert [small_store.known_business(each) is not None for each in (one, two, three)] == [
        True,
        False,
        True,
    ]


@pytest.fixture
def small_store(tmp_path: Path) -> Iterator[Store]:
    store = Store.from_url(f"sqlite:///{tmp_path / 'calls.db'}")
    metadata.create_all(store.engine)
    yield store
    store.close()
