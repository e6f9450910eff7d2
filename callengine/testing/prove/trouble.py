"""What may go wrong in a drawn call, and which laws that excuses.

A trouble is data: faults of the model, steps of the caller's script, a hiccup of the engine. A law
that is not excused holds in spite of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callengine.messages import EndCause
from callengine.testing import laws
from callengine.testing.caller.script import DropSocket, HangUp, SendRaw, SkipTime, StopFrames
from callengine.testing.realtime import faults
from callengine.testing.realtime.script import Ending
from callengine.testing.simulation import Hiccup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from callengine.testing.caller.script import Step
    from callengine.testing.held import Held


LOSS: Final = "model lost"


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong. `steps` go somewhere into the caller's script."""

    kind: str
    model: tuple[faults.Fault, ...] = ()
    hiccup: Hiccup | None = None
    steps: tuple[Step, ...] = ()


def _model_gone(rng: Random) -> tuple[faults.Fault, ...]:
    moments: list[faults.Trigger] = [
        faults.After(rng.uniform(20.0, 26.0)),
        faults.AtAppend(rng.randint(1000, 1400)),
        faults.AtResponse(rng.randint(1, 5), rng.choice([0, 200, 1500])),
        faults.AtResponseDone(rng.randint(1, 5)),
    ]
    code = rng.choice([1000, 1001, 1008, 1011, 1012, 1013, 3000, 4000])
    return (faults.CloseSocket(rng.choice(moments), code, abrupt=rng.random() < 0.3),)


def draw_loss(rng: Random) -> Trouble:
    """The model is lost, sooner or later, in a way that another session may not meet."""
    moments: list[faults.Trigger] = [
        faults.After(rng.uniform(0.0, 19.0)),
        faults.AtAppend(rng.randint(1, 900)),
        faults.AtResponse(rng.randint(1, 4), rng.choice([0, 200, 1500])),
        faults.AtResponseDone(rng.randint(1, 4)),
    ]
    moment, code = rng.choice(moments), rng.choice([1000, 1001, 1008, 1011, 1012, 1013])
    close = (faults.CloseSocket(moment, code, abrupt=rng.random() < 0.3),)
    return Trouble(LOSS, rng.choice([close, close, faults.session_expired(moment)]))


def session_never_made(rng: Random) -> tuple[faults.Fault, ...]:
    """Faults of a session that never begins."""
    return rng.choice(
        [
            faults.key_refused(),
            faults.beta_shape_refused(),
            (faults.RefuseSessionUpdate(),),
            (faults.EchoOtherFormat(),),
            (faults.DelaySessionUpdated(None),),
        ]
    )


def _oddities(rng: Random) -> tuple[faults.Fault, ...]:
    at = faults.After(rng.uniform(0.0, 18.0))
    return rng.choice(
        [
            (faults.SendRaw(at, "{nonsense"),),
            (faults.SendRaw(at, b"\xff\xfe\x00"),),
            (faults.SendRaw(at, '{"type":"response.hologram"}'),),
            (faults.SendRaw(at, '{"type":"response.cancelled","response_id":"resp_sim0001"}'),),
            (faults.SendRaw(at, faults.error_message("odd", "what?")),),
            (faults.SendRaw(at, faults.error_message(None, "what?", "server_error")),),
            (faults.DuplicateEvents(rng.randint(1, 4)),),
            (faults.RenameEvents((("rate_limits.updated", "rate_limits.changed"),)),),
            (faults.RefuseSessionUpdate(number=2),),
        ]
    )


_MODEL: Final[Mapping[str, Callable[[Random], tuple[faults.Fault, ...]]]] = {
    "model gone": _model_gone,
    "session never made": session_never_made,
    "session expired": lambda rng: faults.session_expired(faults.After(rng.uniform(20.0, 26.0))),
    "session late": lambda rng: (faults.DelaySessionUpdated(rng.uniform(0.1, 4.0)),),
    "audio stalls": lambda rng: (
        faults.StallAudio(rng.randint(1, 4), rng.choice([0, 500, 1000]), rng.uniform(0.2, 2.5)),
    ),
    "response fails": lambda rng: (
        faults.FailResponse(
            rng.randint(1, 4),
            rng.choice([Ending.SERVER_ERROR, Ending.RATE_LIMIT_EXCEEDED, Ending.CONTENT_FILTER]),
            rng.choice([0, 0, 700]),
        ),
    ),
    "not announced": lambda rng: (faults.NoCreated(rng.randint(2, 4)),),
    "odd message": _oddities,
}

_ODD_FRAMES: Final[tuple[str | bytes, ...]] = (
    "{",
    b"\x00",
    '{"event":"video"}',
    '{"event":"media"}',
    "[]",
)

_CARRIER: Final[Mapping[str, Callable[[Random], tuple[Step, ...]]]] = {
    "frames stop": lambda rng: (StopFrames(rng.choice([0.1, 0.5, 3.0])),),
    "media clock jumps": lambda rng: (SkipTime(rng.choice([-2000, 40, 300, 5000])),),
    "odd frame": lambda rng: (SendRaw(rng.choice(_ODD_FRAMES)),),
    "caller hangs up": lambda _: (HangUp(),),
    "carrier lost": lambda rng: (
        rng.choice([DropSocket(), DropSocket(abrupt=False, code=rng.choice([1000, 1001, 1011]))]),
    ),
}

LOST: Final = frozenset({EndCause.MODEL_LOST, EndCause.SESSION_EXPIRED})
"""How a call ends whose model was lost, if no other takes over."""

LOSSES: Final = frozenset({"model gone", LOSS, "session expired"})
"""Where another session takes over, the law of the figures takes it into account."""

ENDS: Final[Mapping[str, frozenset[EndCause]]] = {
    "model gone": frozenset({EndCause.MODEL_LOST, EndCause.MODEL_REFUSED}),
    "session never made": frozenset(
        {EndCause.MODEL_LOST, EndCause.MODEL_REFUSED, EndCause.SESSION_REFUSED}
    ),
    LOSS: LOST,
    "session expired": frozenset({EndCause.SESSION_EXPIRED}),
    "response fails": frozenset({EndCause.MODEL_FAILED}),
    "not announced": frozenset({EndCause.MODEL_FAILED}),  # if it goes on and on
    "odd message": frozenset({EndCause.SESSION_REFUSED}),  # an error meanwhile is its refusal
    "caller hangs up": frozenset({EndCause.CALLER_HUNG_UP}),
    "carrier lost": frozenset({EndCause.CARRIER_LOST}),
}
"""How a call with this trouble may end, beside in the way the caller means to end it."""

ENDED_EARLY: Final = frozenset(
    {
        laws.every_turn_is_answered,
        laws.whole_replies_are_heard,
        laws.a_protected_greeting_is_heard,
        laws.what_was_not_heard_is_truncated,
        laws.counters_agree,
    }
)
"""What a call need not live up to that ended in the middle of something. Both ends of a line that
is cut need not have seen the same."""

EXCUSES: Final[Mapping[str, frozenset[Callable[[Held], None]]]] = {
    "caller hangs up": ENDED_EARLY,
    # If the caller hangs up just then, or the call ends for another reason.
    "model gone": frozenset({laws.counters_agree}),
    LOSS: frozenset({laws.counters_agree}),
    "session expired": frozenset({laws.counters_agree}),
    # Nobody can know of it; the answer is asked for until it is over, and the caller, who has heard
    # nothing for long enough, may hang up in the middle of it.
    "not announced": ENDED_EARLY | {laws.creates_wait_for_the_slot},
}

KINDS: Final = ("hiccup", *_MODEL, *_CARRIER)
"""What is drawn by `draw_trouble`; a `LOSS` is drawn apart."""

ENDS_THE_CALL: Final = frozenset({"caller hangs up", "carrier lost"})
"""Their steps come last."""


def draw_trouble(rng: Random) -> Trouble:
    """Something that goes wrong."""
    kind = rng.choice(KINDS)
    if kind in _MODEL:
        return Trouble(kind, model=_MODEL[kind](rng))
    if kind in _CARRIER:
        return Trouble(kind, steps=_CARRIER[kind](rng))
    return Trouble(kind, hiccup=Hiccup(rng.uniform(1.0, 20.0), rng.choice([0.03, 0.15, 0.5, 1.5])))


def excused(troubles: tuple[Trouble, ...], held: Held) -> frozenset[Callable[[Held], None]]:
    """The laws that need not hold in a call that ended like this."""
    early = held.summary.end_cause is not EndCause.CALLER_HUNG_UP
    kinds = {trouble.kind for trouble in troubles} - (LOSSES if held.later_models else set())
    excuses = [EXCUSES.get(kind, frozenset()) for kind in kinds]
    return frozenset().union(ENDED_EARLY if early else (), *excuses)


def may_end(troubles: tuple[Trouble, ...]) -> frozenset[EndCause]:
    """How the call may end."""
    meant = frozenset({EndCause.CALLER_HUNG_UP})
    return meant.union(*(ENDS.get(trouble.kind, meant) for trouble in troubles))
