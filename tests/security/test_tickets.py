"""Tickets: valid for one call, for a while, once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callengine.errors import LocalError
from callengine.security import tickets as module
from callengine.security.tickets import (
    LIFETIME_S,
    MAX_FIELD_BYTES,
    MIN_SECRET_BYTES,
    TICKET_PARAMETER,
    Ticket,
    TicketFault,
    Tickets,
    tickets_for,
)
from callengine.settings import Settings

SECRET = bytes(range(32))
CALL_SID = "CA" + "1" * 32
TICKET = Ticket(CALL_SID, "+15551234567", "+15557654321")
NOW = 1_900_000_000.0
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def desk() -> Tickets:
    return Tickets(SECRET)


def test_a_ticket_brings_back_what_was_put_in(desk: Tickets) -> None:
    assert desk.redeem(desk.issue(TICKET, NOW), CALL_SID, NOW + 1) == TICKET


FIELD = st.text(st.characters(), max_size=25)


@given(st.builds(Ticket, st.text(st.characters(), min_size=1, max_size=25), FIELD, FIELD))
def test_whatever_is_put_in_comes_back(ticket: Ticket) -> None:
    desk = Tickets(SECRET)
    assert desk.redeem(desk.issue(ticket, NOW), ticket.call_sid, NOW) == ticket


def test_every_process_with_the_same_secret_takes_it() -> None:
    token = Tickets(SECRET).issue(TICKET, NOW)
    assert Tickets(SECRET).redeem(token, CALL_SID, NOW) == TICKET
    assert Tickets(SECRET[::-1]).redeem(token, CALL_SID, NOW) is TicketFault.FOREIGN


@pytest.mark.edge_case(18)
@pytest.mark.parametrize("token", [None, ""])
def test_no_ticket_is_missing(desk: Tickets, token: str | None) -> None:
    assert desk.redeem(token, CALL_SID, NOW) is TicketFault.MISSING


@pytest.mark.edge_case(18)
def test_a_ticket_is_good_once(desk: Tickets) -> None:
    token = desk.issue(TICKET, NOW)
    desk.redeem(token, CALL_SID, NOW)
    assert desk.redeem(token, CALL_SID, NOW) is TicketFault.USED
    assert desk.redeem(token, CALL_SID, NOW + LIFETIME_S - 0.001) is TicketFault.USED


@pytest.mark.edge_case(18)
@pytest.mark.parametrize("call_sid", ["", "CA" + "2" * 32, CALL_SID.lower(), CALL_SID + "1"])
def test_a_ticket_of_another_call_is_refused_and_not_used_up(desk: Tickets, call_sid: str) -> None:
    token = desk.issue(TICKET, NOW)
    assert desk.redeem(token, call_sid, NOW) is TicketFault.FOREIGN
    assert desk.redeem(token, CALL_SID, NOW) == TICKET


@pytest.mark.edge_case(18)
def test_a_ticket_expires(desk: Tickets) -> None:
    tokens = [desk.issue(TICKET, NOW) for _ in range(3)]
    assert desk.redeem(tokens[0], CALL_SID, NOW + LIFETIME_S - 0.001) == TICKET
    assert desk.redeem(tokens[1], CALL_SID, NOW + LIFETIME_S) is TicketFault.EXPIRED
    assert desk.redeem(tokens[2], CALL_SID, NOW + 1e9) is TicketFault.EXPIRED


@given(st.data())
def test_any_mutation_of_a_ticket_is_refused(data: st.DataObject) -> None:
    desk = Tickets(SECRET)
    token = desk.issue(TICKET, NOW)
    at = data.draw(st.integers(0, len(token) - 1))
    letter = st.sampled_from(ALPHABET) | st.characters()
    changed = data.draw(
        st.one_of(
            letter.map(lambda each: token[:at] + each + token[at + 1 :]),
            letter.map(lambda each: token[:at] + each + token[at:]),
            letter.map(lambda each: token + each),
            st.just(token[:at]),
            st.just(token[:at] + token[at + 1 :]),
            st.sampled_from(["=", "==", "\n", " ", "\x00"]).map(lambda each: token + each),
        )
    )
    got = desk.redeem(changed, CALL_SID, NOW)
    if changed != token:
        assert got in {TicketFault.MALFORMED, TicketFault.FOREIGN, TicketFault.MISSING}
        assert desk.redeem(token, CALL_SID, NOW) == TICKET, "it was not used up"


@pytest.mark.parametrize("last", ALPHABET)
def test_no_other_spelling_of_a_ticket_is_one(desk: Tickets, last: str) -> None:
    """The last letter of base64 has bits that are not read."""
    token = desk.issue(Ticket("CA"), NOW)
    assert len(token) % 4, "or its last letter has none"
    if last != token[-1]:
        assert isinstance(desk.redeem(token[:-1] + last, "CA", NOW), TicketFault)


@given(st.text(st.characters()) | st.binary().map(bytes.hex) | st.text(ALPHABET))
def test_no_text_raises_or_is_a_ticket_by_accident(token: str) -> None:
    assert isinstance(Tickets(SECRET).redeem(token, CALL_SID, NOW), TicketFault)


@pytest.mark.realtime
def test_of_two_threads_one_uses_it(desk: Tickets) -> None:
    """Who has looked whether it was used waits for the other to have looked, who must not come."""
    meeting = threading.Barrier(2)

    class Slow(module._Nonces):
        def __contains__(self, nonce: bytes) -> bool:
            known = super().__contains__(nonce)
            with suppress(threading.BrokenBarrierError):
                meeting.wait(0.3)
            return known

    desk._used = Slow()
    token = desk.issue(TICKET, NOW)
    with ThreadPoolExecutor(2) as pool:
        redeemed = [pool.submit(desk.redeem, token, CALL_SID, NOW) for _ in range(2)]
        results = {each.result() for each in redeemed}
    assert results == {TICKET, TicketFault.USED}


# ---- the memory of what was used


def test_what_has_expired_is_forgotten(desk: Tickets) -> None:
    for n in range(1_000):
        desk.redeem(desk.issue(TICKET, NOW + n), CALL_SID, NOW + n)
    assert len(desk._used) <= LIFETIME_S
    assert len(desk._used._by_expiry) <= LIFETIME_S


def test_a_clock_that_is_set_back_lets_nothing_be_used_twice(desk: Tickets) -> None:
    old, other = desk.issue(TICKET, NOW), desk.issue(TICKET, NOW + LIFETIME_S)
    assert desk.redeem(old, CALL_SID, NOW) == TICKET
    assert desk.redeem(other, CALL_SID, NOW + LIFETIME_S) == TICKET  # `old` is forgotten
    assert desk.redeem(old, CALL_SID, NOW) is TicketFault.EXPIRED


def test_a_memory_that_is_full_refuses_rather_than_forgets(
    desk: Tickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 3)
    tokens = [desk.issue(TICKET, NOW + n) for n in range(6)]
    late = tokens.pop()
    assert [desk.redeem(token, CALL_SID, NOW + 5) for token in tokens[:4]] == [TICKET] * 4
    assert len(desk._used) == 3
    again = [desk.redeem(token, CALL_SID, NOW + 5) for token in tokens[:4]]
    assert again == [TicketFault.EXPIRED, *[TicketFault.USED] * 3]
    assert desk.redeem(late, CALL_SID, NOW + 5) == TICKET, "who comes next is not shut out"


# ---- limits


@pytest.mark.parametrize(
    "number", ["+" + "1" * (MAX_FIELD_BYTES - 1), "é" * (MAX_FIELD_BYTES // 2)]
)
def test_the_largest_ticket_fits_into_a_parameter(desk: Tickets, number: str) -> None:
    ticket = Ticket("C" * MAX_FIELD_BYTES, number, number)
    token = desk.issue(ticket, NOW)
    assert len(TICKET_PARAMETER + token) < 500
    assert token.isascii()
    assert not set(token) - set(ALPHABET)
    assert desk.redeem(token, ticket.call_sid, NOW) == ticket


def test_a_number_that_is_too_long_is_left_out(desk: Tickets) -> None:
    long = "sip:" + "a" * MAX_FIELD_BYTES
    token = desk.issue(Ticket(CALL_SID, long, "+15557654321"), NOW)
    assert desk.redeem(token, CALL_SID, NOW) == Ticket(CALL_SID, "", "+15557654321")


@pytest.mark.parametrize("call_sid", ["", "C" * (MAX_FIELD_BYTES + 1)])
def test_a_call_sid_that_cannot_be_one_is_refused(desk: Tickets, call_sid: str) -> None:
    with pytest.raises(LocalError, match=f"{len(call_sid)} bytes"):
        desk.issue(Ticket(call_sid), NOW)


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(LocalError, match="15 bytes"):
        Tickets(bytes(MIN_SECRET_BYTES - 1))


# ---- secrets


def test_numbers_are_not_in_the_repr() -> None:
    assert repr(TICKET) == f"Ticket(call_sid={CALL_SID!r})"


def settings(token: str | None) -> Settings:
    return Settings(twilio_auth_token=token)


@pytest.mark.parametrize(
    ("one", "other", "agree"), [("t1", "t1", True), ("t1", "t2", False), (None, None, False)]
)
def test_workers_with_the_same_auth_token_agree(
    one: str | None, other: str | None, agree: bool
) -> None:
    token = tickets_for(settings(one)).issue(TICKET, NOW)
    got = tickets_for(settings(other)).redeem(token, CALL_SID, NOW)
    assert got == (TICKET if agree else TicketFault.FOREIGN)


def test_the_auth_token_itself_signs_no_ticket() -> None:
    auth_token = "0123456789abcdef0123456789abcdef"
    forged = Tickets(auth_token.encode()).issue(TICKET, NOW)
    got = tickets_for(settings(auth_token)).redeem(forged, CALL_SID, NOW)
    assert got is TicketFault.FOREIGN
