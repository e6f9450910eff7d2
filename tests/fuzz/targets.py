"""The three things that are fuzzed: what each is fed, how that is spoilt, where its corpus is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.fuzz import calls, codecs, seeds
from tests.fuzz.mutation import mutated
from tests.fuzz.script import read, written
from tests.fuzz.script_mutation import mutated_call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

_CORPUS: Final = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    """`run` takes one input, raises if something does not hold, and returns the messages in it."""

    name: str
    run: Callable[[bytes], int]
    good: Sequence[bytes]
    spoil: Callable[[Random, bytes], bytes]

    @property
    def corpus(self) -> list[Path]:
        """The inputs that are kept because they matter."""
        return sorted((_CORPUS / self.name).iterdir())


def _codec(name: str, check: Callable[[bytes], None], good: Sequence[str]) -> Target:
    def run(data: bytes) -> int:
        check(data)
        return 1

    def spoil(rng: Random, data: bytes) -> bytes:
        message = mutated(rng, codecs.as_text(data), good)
        if rng.random() < 0.01:
            at = rng.randrange(len(message) + 1)
            return message[:at].encode(errors="surrogatepass") + rng.randbytes(3)
        return message.encode(errors="surrogatepass")

    return Target(name, run, [message.encode() for message in good], spoil)


def _call() -> Target:
    good = seeds.calls()

    def spoil(rng: Random, data: bytes) -> bytes:
        return written(mutated_call(rng, read(data), good))

    return Target("call", calls.call, [written(script) for script in good], spoil)


TARGETS: Final = {
    target.name: target
    for target in (
        _codec("twilio", codecs.carrier, seeds.carrier_messages()),
        _codec("realtime", codecs.model, seeds.model_messages()),
        _call(),
    )
}
