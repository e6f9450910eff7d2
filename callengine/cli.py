"""`python -m callengine`: hold a call on this machine, serve calls, prove that the laws hold, or
measure how many calls can be held.

Exit status: 0 all is well, 1 a call did not pass, 2 it could not be tried.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from callengine.agent import DEFAULT_GREETING, Agent
from callengine.collector import pass_seldom
from callengine.database import add_parser as add_database
from callengine.doctor import add_parser as add_doctor
from callengine.edges.signals import DRAIN_S
from callengine.errors import CallEngineError, SettingsError, SignaturesOff
from callengine.logs import configure_logging
from callengine.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.edges.standalone import StandaloneServer
    from callengine.engine import CallEngine
    from callengine.summary import CallSummary
    from callengine.testing.caller.record import CallRecord
    from callengine.workers.commons import Commons

EXTRAS: Final = {"websockets": "serve", "alembic": "db", "psycopg": "postgres"}
"""Packages that only some commands need, and what brings them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    warnings.simplefilter("ignore", SignaturesOff)  # `serve` logs it
    try:
        return int(options.run(options))
    except (CallEngineError, ConnectionError) as error:
        print(f"callengine: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        print(f"callengine: {error}; pip install 'callengine[{extra}]'", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncallengine: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m callengine", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    call = commands.add_parser("call", help="hold one call on this machine and check it")
    call.set_defaults(run=_call)
    call.add_argument("--seconds", type=int, default=60, help="how long the call lasts (60)")
    call.add_argument("--seed", type=int, default=1, help="same seed, same call (1)")
    call.add_argument("--out", type=Path, default=Path("call-report"), help="where to write")
    call.add_argument("--openai", action="store_true", help="talk to the real API")
    serve = commands.add_parser("serve", help="answer calls of a carrier")
    serve.set_defaults(run=_serve)
    serve.add_argument("--host", help="address to listen on (CALLENGINE_HOST, 127.0.0.1)")
    serve.add_argument("--port", type=int, help="port to listen on (CALLENGINE_PORT, required)")
    serve.add_argument("--media-path", help="(CALLENGINE_MEDIA_PATH, /media-stream)")
    serve.add_argument("--public-url", help="where Twilio reaches us (CALLENGINE_PUBLIC_URL)")
    serve.add_argument("--instructions", help="what the model is told")
    serve.add_argument("--greeting", help="what the model is told to say first")
    serve.add_argument("--no-greeting", action="store_true", help="let the caller speak first")
    serve.add_argument(
        "--open-greeting", action="store_true", help="let the caller interrupt the greeting"
    )
    serve.add_argument(
        "--drain-s",
        type=float,
        default=DRAIN_S,
        help=f"how long SIGTERM lets calls go on ({DRAIN_S:.0f})",
    )
    serve.add_argument(
        "--workers",
        type=_at_least_one,
        default=1,
        help="processes, one a core at most; each holds CALLENGINE_MAX_CALLS (1)",
    )
    prove = commands.add_parser("prove", help="simulate many calls and check the laws in each")
    prove.set_defaults(run=_prove)
    prove.add_argument("--calls", type=_at_least_one, default=1000, help="how many (1000)")
    prove.add_argument("--seed", type=int, default=1, help="of the first call (1)")
    prove.add_argument("--processes", type=_at_least_one, help="at the same time (one a core)")
    prove.add_argument("--replay", type=int, metavar="SEED", help="show one call, as it was")
    prove.add_argument("--frames", action="store_true", help="with --replay: show every frame")
    explore = commands.add_parser("explore", help="explore all orders of what may happen")
    explore.set_defaults(run=_explore)
    explore.add_argument("--depth", type=_at_least_one, help="how many moves (what takes a minute)")
    bench = commands.add_parser("bench", help="what a call costs here, and how many can be held")
    bench.set_defaults(run=_bench)
    bench.add_argument(
        "--calls",
        type=_counts,
        default=(10, 50, 100),
        metavar="N,N,...",
        help="calls at the same time, one measurement each (10,50,100)",
    )
    bench.add_argument("--seconds", type=_at_least_one, default=30, help="measured for each (30)")
    bench.add_argument("--seed", type=int, default=1, help="same seed, same callers (1)")
    bench.add_argument(
        "--ramp", action="store_true", help="find the knee, from the first of --calls up"
    )
    bench.add_argument("--out", type=Path, default=Path("bench-report"), help="where to write")
    add_doctor(commands)
    add_database(commands)
    for command in (call, serve):
        command.add_argument("--realtime-url", help="the model (CALLENGINE_REALTIME_URL)")
        command.add_argument("--realtime-model", help="its name (CALLENGINE_REALTIME_MODEL)")
        command.add_argument("--verbose", action="store_true", help="log to stderr")
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_at_least_one(each) for each in text.split(","))


def _settings(options: argparse.Namespace) -> Settings:
    return Settings.from_env(
        realtime_url=options.realtime_url,
        realtime_model=options.realtime_model,
        public_url=getattr(options, "public_url", None),
    )


# ---- call


def _call(options: argparse.Namespace) -> int:
    from callengine.testing.local_call import hold_call
    from callengine.testing.report import proof, timeline
    from callengine.testing.report.call_report import (
        format_table,
        verdict,
        write_summary,
        write_wav,
    )
    from callengine.testing.report.page import write_page

    if options.verbose:
        configure_logging()
    settings = None
    if options.openai or options.realtime_url:
        settings = _settings(options)
        settings.require_key()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"--out {options.out} cannot be made: {error.strerror}") from None
    print(f"A call of {options.seconds} seconds, seed {options.seed}.")
    held = hold_call(
        options.seconds, options.seed, settings=settings, on_progress=_Progress(options.seconds)
    )
    print()
    rows = proof.rows(held)
    summary, sound, page = (
        options.out / name for name in ("summary.json", "call.wav", "call.html")
    )
    write_summary(summary, held.summary.to_dict())
    write_wav(sound, held.caller.said_track(), held.caller.heard_track())
    write_page(page, timeline.report(held, rows, f"Local call, seed {options.seed}"))
    print(format_table(rows))
    print(verdict(rows))
    for path in (page, sound, summary):
        print(f"  {path}")
    return 0 if all(row.passed for row in rows) else 1


class _Progress:
    """One line that says what is going on: rewritten on a terminal, once in 5 s in a log."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._live = sys.stdout.isatty()
        self._next_s = 0.0

    def __call__(self, elapsed_s: float, caller: CallRecord) -> None:
        if elapsed_s < self._next_s:
            return
        self._next_s = elapsed_s + (0.2 if self._live else 5.0)
        hears = bool(caller.heard) and caller.heard[-1].until > caller.opened_at + elapsed_s - 0.1
        line = (
            f"  {elapsed_s:4.0f} of {self._seconds} s   "
            f"{'AI is heard' if hears else 'AI is quiet':11}   "
            f"caller spoke {len(caller.said)} times   {len(caller.clears)} interruptions"
        )
        print(f"\r{line}" if self._live else line, end="" if self._live else "\n", flush=True)


# ---- prove


def _prove(options: argparse.Namespace) -> int:
    from callengine.testing.prove import command

    if options.replay is not None:
        return command.replay(options.replay, with_frames=options.frames)
    return command.run(options.calls, options.seed, options.processes)


def _explore(options: argparse.Namespace) -> int:
    from callengine.testing.explore import CI_DEPTH, explore, report

    exploration = explore(options.depth or CI_DEPTH)
    print(report(exploration))
    return 1 if exploration.violations else 0


def _bench(options: argparse.Namespace) -> int:
    from callengine.testing.bench import command

    return command.run(options)


# ---- serve


def _serve(options: argparse.Namespace) -> int:
    from callengine.edges.standalone import MEDIA_PATH, StandaloneServer
    from callengine.engine import CallEngine

    configure_logging("INFO" if options.verbose else "WARNING")
    settings = _settings(options)
    settings.require_key()
    agent = Agent(
        instructions=options.instructions or Agent().instructions,
        greeting=None if options.no_greeting else options.greeting or DEFAULT_GREETING,
        greeting_protected=not options.open_greeting,
    )
    pass_seldom()
    commons = _commons(options.workers, settings)
    engine = CallEngine(settings, agent=agent, shared=commons)
    server = StandaloneServer(
        engine,
        host=options.host or os.environ.get("CALLENGINE_HOST", "127.0.0.1"),
        port=_port(options.port),
        media_path=options.media_path or os.environ.get("CALLENGINE_MEDIA_PATH", MEDIA_PATH),
        on_call=_print_summary,
    )
    if commons is None:
        _serve_here(engine, server, options.drain_s)
    else:
        _serve_with_workers(engine, server, commons, options.drain_s)
    return 0


def _serve_here(engine: CallEngine, server: StandaloneServer, drain_s: float) -> None:
    stop, at_once = threading.Event(), threading.Event()

    def interrupted(number: int, _: object) -> None:
        if number == signal.SIGINT or stop.is_set():
            at_once.set()
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    with server:
        _print_addresses(engine, server)
        stop.wait()
        if not at_once.is_set():
            _print_drain(engine.active_calls, drain_s)
            draining = threading.Thread(target=server.drain, args=(drain_s,), daemon=True)
            draining.start()
            while draining.is_alive() and not at_once.wait(0.1):
                pass


def _commons(workers: int, settings: Settings) -> Commons | None:
    """What several workers share; one needs nobody."""
    if workers == 1:
        return None
    if not hasattr(os, "fork"):
        raise SettingsError(
            f"--workers {workers} needs os.fork, which this system has not: start processes with"
            " one worker each, on ports of their own, behind a proxy"
        )
    from callengine.workers.commons import Commons

    return Commons(workers, settings.max_calls)


def _serve_with_workers(
    engine: CallEngine, server: StandaloneServer, commons: Commons, drain_s: float
) -> None:
    from callengine.workers.parent import Parent
    from callengine.workers.worker import Worker

    parent = Parent(
        server.give_port(),
        commons,
        lambda control: Worker(control, engine, server, commons, drain_s=drain_s).run(),
        drain_s=drain_s,
        on_drain=lambda calls: _print_drain(calls, drain_s),
    )
    _print_addresses(engine, server)
    parent.run()


def _print_addresses(engine: CallEngine, server: StandaloneServer) -> None:
    from callengine.edges.standalone import WEBHOOK_PATH

    public_url = engine.settings.public_url
    print(f"media    {server.media_url}", flush=True)
    if public_url:
        print(f"webhook  {public_url.rstrip('/')}{WEBHOOK_PATH}", flush=True)
    else:
        print("webhook  off: set --public-url to answer a Twilio number", flush=True)
    print("Ctrl-C ends it", flush=True)


def _print_drain(calls: int, drain_s: float) -> None:
    if calls:
        _write_line(f"calls may go on for {drain_s:.0f} s")


def _port(given: int | None) -> int:
    if given is not None:
        return given
    text = os.environ.get("CALLENGINE_PORT")
    if text is None:
        raise SettingsError("no port to listen on: give --port or set CALLENGINE_PORT")
    if not text.isdecimal():
        raise SettingsError(f"CALLENGINE_PORT is {text!r}; it must be a whole number")
    return int(text)


def _print_summary(summary: CallSummary) -> None:
    numbers = " ".join(f"{name}={value}" for name, value in summary.log_fields().items())
    _write_line(f"call {summary.call_sid or '-'} {numbers}")


def _write_line(text: str) -> None:
    """In one piece, as `print` does not: workers and their parent share the stream."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
