"""A call on virtual time of which everything is known: what was told to whom, and when."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from callengine import Agent, Settings, VadConfig
from callengine.messages import Owner, ResetGranted, ResetRefused, ResetRequest, StateChanged
from callengine.testing import (
    Behaviour,
    Reply,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    WaitUntilQuiet,
    laws,
)
from callengine.testing.held import Held, hold, noise, reply
from callengine.testing.speech import clip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pykka

    from callengine.testing.caller.script import Step
    from callengine.testing.realtime.faults import Fault

QUESTION: Final = clip("caller_question_1")
STOP: Final = clip("caller_barge_in_2")

LOUD_MS: Final = bytes([*[0xA0] * 4, *[0x20] * 4])
"""A millisecond of a tone that both detectors take for a voice."""

HUM_MS: Final = bytes([*[0xD3] * 4, *[0x53] * 4])
"""And one that is loud to us, and nothing to a model with `DEAF_TO_HUM`."""

DEAF_TO_HUM: Final = VadConfig(threshold=1.0)
FAREWELL: Final = noise(1.0, 77)
FOR_EVER_S: Final = 100_000.0
WAY_S: Final = 0.005
SLACK_S: Final = 0.1
"""For the ways of a few messages, and the frame that is due anyway."""

T = TypeVar("T")


@dataclass(frozen=True)
class Course:
    """A call that is over, and everything that was told in it."""

    held: Held
    told: Sequence[tuple[float, str, object]]

    def all_of(self, kind: type[T], to: str | None = None) -> list[tuple[float, T]]:
        """What was told of one kind, with the times of its being taken."""
        told = [(at, what) for at, who, what in self.told if to in {None, who}]
        return [(at, what) for at, what in told if isinstance(what, kind)]

    def asked(self, owner: Owner) -> list[tuple[float, ResetRequest]]:
        """The watchdog's requests to an owner."""
        return [(at, ask) for at, ask in self.all_of(ResetRequest) if ask.owner is owner]

    def answers(self, owner: Owner) -> list[ResetGranted | ResetRefused]:
        """What an owner answered, in order."""
        told = [what for _, _, what in self.told]
        answers = [what for what in told if isinstance(what, ResetGranted | ResetRefused)]
        return [answer for answer in answers if answer.owner is owner]

    def entered(self, owner: Owner, state: str) -> list[float]:
        """When an owner entered a state, or made progress in it."""
        changes = self.all_of(StateChanged)
        return [at for at, what in changes if (what.owner, what.state) == (owner, state)]

    def left(self, owner: Owner, since: float) -> float:
        """When an owner left the state that it had entered then."""
        changes = self.all_of(StateChanged)
        return min(at for at, what in changes if what.owner is owner and at > since)

    def sent_to_model(self, kind: str) -> list[tuple[float, dict[str, Any]]]:
        """The client events of one type."""
        read = [(at, json.loads(what)) for at, what in self.all_of(str, "SimulatedRealtime")]
        return [(at, event) for at, event in read if event["type"] == kind]

    def silences_s(self) -> list[float]:
        """How long the caller heard nothing, each time."""
        spans = self.held.caller.heard
        begins = [*(span.at for span in spans[1:]), self.closed_at]
        return [begin - span.until for span, begin in zip(spans, begins, strict=True)]

    @property
    def closed_at(self) -> float:
        """When the carrier's socket was closed."""
        assert self.held.caller.closed is not None
        return self.held.caller.closed.at


def course(
    script: Sequence[Step] | SimulatedCaller,
    *broken: Fault,
    replies: Sequence[Reply] = (),
    agent: Agent | None = None,
    settings: Settings | None = None,
    behaviour: Behaviour | None = None,
    sabotage: Callable[[Simulation], None] = lambda _: None,
    **host: Any,  # noqa: ANN401 - of the simulation
) -> Course:
    """Hold a call; `sabotage` may get at it before it begins. Whatever breaks, nothing is left.

    A model that is lost is not connected to again unless the settings say so.
    """
    told: list[tuple[float, str, object]] = []
    simulation = Simulation(
        script if isinstance(script, SimulatedCaller) else SimulatedCaller(script),
        SimulatedRealtime(
            replies or [reply(2.0, n) for n in range(9)], behaviour=behaviour, faults=broken
        ),
        agent or Agent(farewell=FAREWELL, fallback=b""),
        settings or Settings(model_retries=0),
        latency_s=WAY_S,
        watch=lambda at, who, what: told.append((at, who, what)),
        **host,
    )
    sabotage(simulation)
    held = hold(simulation)
    laws.nothing_is_left(held)
    return Course(held, told)


def after_the_greeting(*steps: Step) -> list[Step]:
    """The caller asks, when the greeting is over, and goes on with `steps`."""
    return [WaitUntilQuiet(0.5, 10.0), Say(QUESTION), *steps]


def assert_farewell(seen: Course) -> None:
    """The last thing the caller heard was the farewell, whole."""
    assert seen.held.caller.heard[-1].payload.endswith(FAREWELL)


def lose_alarms(actor: type, since: float, until: float) -> Callable[[Simulation], None]:
    """Alarms that this actor sets in that time never ring."""

    def sabotage(simulation: Simulation) -> None:
        ring = simulation.stepper.tell_at

        def tell_at(when: float, ref: pykka.ActorRef[Any], message: object) -> None:
            lost = ref.actor_class is actor and since <= simulation.stepper.now() < until
            if not lost:
                ring(when, ref, message)

        simulation.stepper.tell_at = tell_at  # type: ignore[method-assign]

    return sabotage


def tell(simulation: Simulation, peer: str, message: object) -> None:
    """Tell one of the call's actors something out of turn."""
    peers = simulation.call._peers
    assert peers is not None
    getattr(peers, peer).tell(message)
