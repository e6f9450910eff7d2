from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from callengine.agent import Agent
from callengine.errors import StoreUnavailable
from callengine.messages import StreamStarted
from callengine.reception import OUTAGE_S, Businesses, Reception, furnish
from callengine.store import Business

if TYPE_CHECKING:
    from callengine.store import Store

STARTED = StreamStarted("MZ1", "CA1", {}, called="+15550100")
DENTIST = Business(
    called="+15550100",
    instructions="You are a dentist's receptionist.",
    greeting="Say: Riverside Dental.",
    voice="cedar",
    language="en",
    fallback_text="Sorry, one moment.",
    fallback_clip=b"\x10" * 160,
    farewell_text="Goodbye.",
    farewell_clip=b"\x20" * 160,
    transfer_number="+15550199",
)


class Book:
    """A store of one business, which may be out of reach."""

    def __init__(self, business: Business | None = DENTIST, *, down: bool = False) -> None:
        self.business_there = business
        self.known: Business | None = None
        self.down = down
        self.asked = 0

    def business(self, called: str) -> Business | None:
        self.asked += 1
        if self.down:
            raise StoreUnavailable("the database cannot be reached")
        assert called == "+15550100"
        self.known = self.business_there
        return self.business_there

    def known_business(self, called: str) -> Business | None:
        assert called == "+15550100"
        return self.known


def businesses(book: Book) -> Businesses:
    return Businesses(cast("Store", book))


def reception(book: Book, agent: Agent | None = None) -> Reception:
    return Reception(agent or Agent(), Agent(), businesses(book))


def test_a_business_furnishes_the_agent_with_all_it_knows() -> None:
    agent = reception(Book())(STARTED)
    assert agent == Agent(
        instructions=DENTIST.instructions,
        greeting=DENTIST.greeting,
        voice="cedar",
        language="en",
        fallback=b"\x10" * 160,
        fallback_text="Sorry, one moment.",
        farewell=b"\x20" * 160,
        farewell_text="Goodbye.",
        transfer_number="+15550199",
    )


def test_what_a_business_leaves_open_stays_the_agents() -> None:
    agent = Agent(instructions="Mine.", voice="marin", fallback=b"mine", greeting=None)
    assert furnish(agent, Business(called="+15550100")) == agent
    assert furnish(agent, None) is agent


def test_no_field_of_a_business_that_an_agent_has_is_forgotten() -> None:
    shared = {each.name for each in fields(Business)} & {each.name for each in fields(Agent)}
    furnished = furnish(Agent(), DENTIST)
    for name in shared:
        assert getattr(furnished, name) == getattr(DENTIST, name)


def test_the_hosts_choice_is_furnished_too() -> None:
    told: list[StreamStarted] = []

    def choose(started: StreamStarted) -> Agent:
        told.append(started)
        return Agent(greeting=None)

    chosen = Reception(choose, Agent(), businesses(Book()))
    assert chosen(STARTED).voice == "cedar"
    assert told == [STARTED]
    assert chosen.stand_in(STARTED).voice == "cedar", "it is known by now"


def test_a_database_that_is_gone_is_not_asked_by_every_caller() -> None:
    clock = [100.0]
    book = Book()
    shared = Businesses(cast("Store", book), now=lambda: clock[0])

    def desk(started: StreamStarted) -> Agent:
        """Every call has a reception of its own."""
        return Reception(Agent(), Agent(), shared)(started)

    desk(STARTED)
    book.down = True
    assert desk(STARTED).voice == "cedar", "what was known last"
    asked = book.asked
    assert desk(STARTED).voice == "cedar"
    assert book.asked == asked
    clock[0] += OUTAGE_S
    desk(STARTED)
    assert book.asked == asked + 1


def test_a_stand_in_asks_nobody() -> None:
    book = Book()
    fallback = Agent(instructions="Take a message.")

    def choose(_: StreamStarted) -> Agent:
        raise AssertionError("a choice is not waited for")

    assert Reception(choose, fallback, businesses(book)).stand_in(STARTED) == fallback
    assert reception(book).stand_in(STARTED) == Agent()
    assert book.asked == 0


def test_out_of_hours_the_caller_is_told_so_first() -> None:
    shop = Business(
        called="+15550100",
        greeting="Say: Good morning.",
        closed_text="We are closed.",
        business_hours={"monday": [("09:00", "17:00")]},
    )
    monday, tuesday = datetime(2026, 11, 23, 12, tzinfo=UTC), datetime(2026, 11, 24, tzinfo=UTC)
    assert furnish(Agent(), shop, monday).greeting == "Say: Good morning."
    assert furnish(Agent(), shop, tuesday).greeting == 'Say this, word for word: "We are closed."'
