"""Makes bad calls of good ones: what is said, in what order, how often and when.

The same random generator gives the same call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.fuzz import seeds
from tests.fuzz.mutation import mutated
from tests.fuzz.script import Script, Step, What

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

MAX_STEPS: Final = 2_000
"""Of one call; a flood is cut here."""

_WAITS_MS: Final = [0, 1, 5, 20, 20, 20, 100, 400, 510, 760, 1500, 2600, 5100, 9000, 16_000, 31_000]
_CARRIER: Final = seeds.carrier_messages()
_MODEL: Final = seeds.model_messages()
_PARTS: Final[list[Script]] = [
    seeds.accepts(),
    seeds.hears("item_u7"),
    seeds.speaks("resp_1", "create-1"),
    seeds.speaks("resp_2", "create-2", sizes=(1,)),
    seeds.speaks("resp_3", sizes=(159, 161, 70_000)),
    seeds.speaks("resp_4", sizes=(), end="response.done_completed"),
    seeds.speaks("resp_5", end="response.done_incomplete_max_tokens"),
    seeds.cut_short("resp_6"),
    seeds.aside("resp_a"),
    seeds.calls_tool("resp_7", "book_slot", "call_7"),
    seeds.calls_tool("resp_8", "fail", "call_8"),
    seeds.complains("error_active_response", "create-1"),
    seeds.complains("error_cancel_not_active", "cancel-2"),
    seeds.complains("error_unknown_parameter", "session-2"),
    seeds.complains("error_session_expired", None),
    seeds.Caller(numbered=False).speaks(16),
    seeds.Caller(numbered=False).speaks(6),
    seeds.Caller(numbered=False).listens(12),
]


def mutated_call(rng: Random, script: Script, others: Sequence[Script]) -> Script:
    """A call like this one with some things wrong."""
    script = list(script)
    for _ in range(rng.choice((1, 2, 3, 5, 8, 13))):
        rng.choice(_CHANGES)(rng, script, others)
    if rng.random() < 0.5:
        _shift_clock(rng, script)
    seed = Step(What.SEED, rng.randrange(1 << 16))
    return [seed, *(step for step in script if step.what is not What.SEED)][:MAX_STEPS]


def _shift_clock(rng: Random, script: Script) -> None:
    """Some waits are longer or shorter: deadlines are reached, or messages fall together."""
    for at, (what, _) in enumerate(script):
        if what is What.WAIT_MS and rng.random() < 0.1:
            script[at] = Step(what, rng.choice(_WAITS_MS))


def _spoil(rng: Random, script: Script, _: Sequence[Script]) -> None:
    """Some messages are bad; in a bad call many are, mostly behind the handshake."""
    share = rng.choice((0.02, 0.1, 0.3, 0.5))
    begin = rng.choice((0, 6, 6))
    for at, (what, value) in enumerate(script):
        if at >= begin and what in {What.CARRIER, What.MODEL} and rng.random() < share:
            script[at] = Step(what, _spoilt(rng, what, value))


def _spoilt(rng: Random, what: What, value: str | bytes | int) -> str | bytes:
    text = value if isinstance(value, str) else "{}"
    bad = mutated(rng, text, _CARRIER if what is What.CARRIER else _MODEL)
    return bad.encode(errors="surrogatepass") if rng.random() < 0.03 else bad


def _insert_part(rng: Random, script: Script, _: Sequence[Script]) -> None:
    at = _at(rng, script)
    script[at:at] = rng.choice(_PARTS)


def _insert_chatter(rng: Random, script: Script, _: Sequence[Script]) -> None:
    at = max(_at(rng, script), min(8, len(script)))  # behind the handshake, if all is well
    script[at:at] = seeds.chatter(rng, rng.choice((5, 20, 80)))


def _insert_message(rng: Random, script: Script, _: Sequence[Script]) -> None:
    at = _at(rng, script)
    what, messages = rng.choice(
        ((What.CARRIER, _CARRIER), (What.MODEL, _MODEL), (What.MODEL, _MODEL))
    )
    message = rng.choice(messages)
    if rng.random() < 0.5:
        message = mutated(rng, message, messages)
    script.insert(at, Step(what, message))


def _insert_event(rng: Random, script: Script, _: Sequence[Script]) -> None:
    event = rng.choice(
        (
            Step(What.WAIT_MS, rng.choice(_WAITS_MS)),
            Step(What.WAIT_MS, rng.choice(_WAITS_MS)),
            Step(What.ECHO, rng.choice((0, 0, 1, 2, 5, 20))),
            Step(What.ECHO, 0),
            Step(What.ALIVE, 0),
        )
    )
    script.insert(_at(rng, script), event)


def _end(rng: Random, script: Script, _: Sequence[Script]) -> None:
    """A socket is gone, mostly when there is not much left to happen."""
    end = rng.choice(
        (
            Step(What.MODEL_CLOSED, "the model's socket closed with 1006"),
            Step(What.CARRIER_CLOSED, rng.choice((1000, 1006))),
        )
    )
    script.insert(max(_at(rng, script), _at(rng, script), _at(rng, script)), end)


def _delete(rng: Random, script: Script, _: Sequence[Script]) -> None:
    begin = _at(rng, script)
    del script[begin : begin + rng.choice((1, 1, 2, 5, 20))]


def _swap(rng: Random, script: Script, _: Sequence[Script]) -> None:
    if len(script) > 1:
        one = rng.randrange(len(script))
        other = min(one + rng.choice((1, 2, 7)), len(script) - 1)
        script[one], script[other] = script[other], script[one]


def _repeat(rng: Random, script: Script, _: Sequence[Script]) -> None:
    begin = _at(rng, script)
    part = script[begin : begin + rng.choice((1, 1, 2, 4, 9))]
    script[begin:begin] = part * rng.choice((1, 1, 2, 3, 10, 70))


def _splice(rng: Random, script: Script, others: Sequence[Script]) -> None:
    if others:
        other = rng.choice(others)
        begin = _at(rng, other)
        at = _at(rng, script)
        script[at:at] = other[begin : begin + rng.choice((3, 10, 40))]


def _hush(rng: Random, script: Script, _: Sequence[Script]) -> None:
    """No time passes for a while: everything falls together."""
    begin = _at(rng, script)
    end = begin + rng.choice((5, 30, 200))
    script[begin:end] = [step for step in script[begin:end] if step.what is not What.WAIT_MS]


def _at(rng: Random, script: Script) -> int:
    return rng.randrange(len(script) + 1)


_CHANGES: Final[list[Callable[[Random, Script, Sequence[Script]], None]]] = [
    _spoil, _spoil, _spoil, _insert_part, _insert_part, _insert_chatter, _insert_chatter,
    _insert_message, _insert_message, _insert_message, _insert_event, _insert_event, _insert_event,
    _end, _delete, _swap, _swap, _repeat, _repeat, _splice, _hush,
]  # fmt: skip
