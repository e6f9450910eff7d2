"""Fuzz for as long as it takes: `python -m tests.fuzz --target twilio --runs 1000000`.

With atheris installed (`pip install atheris`) the search is guided by coverage of the engine; else
good input is spoilt at random, by the same rules. The first input that breaks something is written
down; with a telling name in `tests/fuzz/corpus/<target>/` it becomes a test.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

LOOKS: tuple[float, ...] = (0.05, 0.25, 0.5, 1.0)
"""The shares of a run after which the peak of memory is noted: it should no longer grow much."""


class Run:
    """One run: counts, and stops after so many messages or at the first failure."""

    def __init__(self, target: Target, messages: int, failures: Path) -> None:
        self._target = target
        self._messages_wanted = messages
        self._failures = failures
        self._inputs = self._messages = 0
        self._peaks_mib: list[int] = []
        self._began = time.monotonic()
        self._cpu_began = time.process_time()

    def one(self, data: bytes) -> None:
        """Try one input."""
        try:
            self._messages += self._target.run(data)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            self._fail(data)
        self._inputs += 1
        if self._messages >= LOOKS[len(self._peaks_mib)] * self._messages_wanted:
            self._peaks_mib.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
        if self._messages >= self._messages_wanted:
            self._end()

    def _fail(self, data: bytes) -> NoReturn:
        self._failures.mkdir(exist_ok=True)
        path = self._failures / f"{self._target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        _say(f"{traceback.format_exc()}\ninput {self._inputs + 1} failed; it is in {path}")
        os._exit(1)  # a fuzzer's own exit would write it down once more

    def _end(self) -> NoReturn:
        seconds, cpu_s = time.monotonic() - self._began, time.process_time() - self._cpu_began
        _say(
            f"{self._target.name}: {self._inputs} inputs, {self._messages} messages in"
            f" {seconds:.0f} s ({cpu_s:.0f} s of processor time), nothing broke; peak memory"
            f" {self._peaks_mib} MiB after {', '.join(f'{look:.0%}' for look in LOOKS)}"
        )
        os._exit(0)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - it is what the program is for


def at_random(run: Run, target: Target, seed: int) -> NoReturn:
    """Spoil good input, and the corpus, for ever."""
    rng = Random(seed)
    good = [*target.good, *(path.read_bytes() for path in target.corpus)]
    for data in good:
        run.one(data)
    while True:
        data = target.spoil(rng, rng.choice(good))
        while rng.random() < 0.2:
            data = target.spoil(rng, data)
        run.one(data)


def by_coverage(atheris: Any, run: Run, target: Target, arguments: argparse.Namespace) -> None:  # noqa: ANN401
    """Let atheris search; it begins with good input, with the corpus, and with what it kept."""
    with tempfile.TemporaryDirectory() as begin:
        for number, data in enumerate(target.good):
            Path(begin, f"good-{number}").write_bytes(data)

        def spoil(data: bytes, max_size: int, seed: int) -> bytes:
            rng = Random(seed)
            if rng.random() < 0.1:
                return bytes(atheris.Mutate(data, max_size))
            return target.spoil(rng, data)[:max_size]

        kept = [str(arguments.keep)] if arguments.keep else []
        folders = [*kept, begin, *{str(path.parent) for path in target.corpus}]
        options = [f"-seed={arguments.seed}", "-max_len=1000000", "-len_control=0"]
        atheris.Setup([sys.argv[0], *options, *folders], run.one, custom_mutator=spoil)
        atheris.Fuzz()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", choices=("twilio", "realtime", "call"), required=True)
    parser.add_argument("--runs", type=int, default=100_000, help="messages to try")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--keep", type=Path, help="a folder for what atheris finds interesting")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    arguments = parser.parse_args()
    atheris = None if arguments.plain else _atheris()
    if atheris is None:
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
    else:
        with atheris.instrument_imports(include=["callengine"]):
            targets = importlib.import_module("tests.fuzz.targets").TARGETS
    importlib.import_module("loguru").logger.remove()  # what is logged is judged, not shown
    target = targets[arguments.target]
    run = Run(target, arguments.runs, arguments.failures)
    if atheris is None:
        at_random(run, target, arguments.seed)
    by_coverage(atheris, run, target, arguments)


def _atheris() -> Any:  # noqa: ANN401 - an optional module
    try:
        return importlib.import_module("atheris")
    except ImportError:
        return None


if __name__ == "__main__":
    main()
