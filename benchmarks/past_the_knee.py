"""What the calls of a full engine notice of as many callers again, for whom there is no room.

    python -m benchmarks.past_the_knee                  100 calls, and 100 callers more
    python -m benchmarks.past_the_knee --calls 200      as many as `bench --ramp` says can be held

Held twice: alone, and with the others coming, spread evenly over the window. Each of those asks the
webhook first, as the carrier does, and knocks at the media socket too, as none should. Linux only.
Exits with 1 if one of them was let in, or waited longer than 200 ms for its answer.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import socket
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from callengine import Settings
from callengine.edges.standalone import WEBHOOK_PATH
from callengine.testing.bench import machine, report
from callengine.testing.bench.engine_process import EngineProcess
from callengine.testing.bench.figures import point
from callengine.testing.bench.load import Load, Plan
from callengine.testing.bench.measured import Measured
from callengine.testing.bench.run import FIRST_CALL, FIRST_CALL_S

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from callengine.testing.bench.figures import Point
    from callengine.testing.bench.machine import Cores

MOST_WAITED_S = 0.2
BUSY_TWIML = "<Reject"
KNOCK = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True)
class TurnedAway:
    """What the others were answered, and how long each answer took, in seconds."""

    answers: Counter[str]
    waited_s: list[float]

    def all_within(self, callers: int) -> bool:
        right = {"busy": callers, "503": callers}
        return self.answers == right and max(self.waited_s) <= MOST_WAITED_S


# ---- the others


def offer(pipe: Connection, media_url: str, callers: int, plan: Plan) -> None:
    """A process of its own: the load must not be late for its sake."""
    answers: Counter[str] = Counter()
    waited_s: list[float] = []
    begins_at = time.monotonic() + plan.entry_s + plan.settling_s
    for number in range(callers):
        time.sleep(max(begins_at + plan.seconds * number / callers - time.monotonic(), 0.0))
        for ask in (ask_webhook, knock):
            asked_at = time.monotonic()
            answers[ask(media_url, number)] += 1
            waited_s.append(time.monotonic() - asked_at)
    pipe.send(TurnedAway(answers, waited_s))


def ask_webhook(media_url: str, number: int) -> str:
    form = urlencode({"CallSid": f"CA{number:032x}", "AccountSid": "AC" + "0a" * 16})
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    status, body = answer(media_url, ("POST", WEBHOOK_PATH, form, kind))
    return "busy" if status == 200 and BUSY_TWIML in body else f"{status} {body}"


def knock(media_url: str, _: int) -> str:
    status, _body = answer(media_url, ("GET", urlsplit(media_url).path, "", KNOCK))
    return str(status)


def answer(media_url: str, request: tuple[str, str, str, dict[str, str]]) -> tuple[int, str]:
    url = urlsplit(media_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=5.0)
    try:
        connection.request(*request)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


# ---- the calls


def hold(plan: Plan, cores: Cores, others: int) -> tuple[Point, TurnedAway | None]:
    """As the bench does, on an engine without a slot to spare."""
    load_average = machine.load_average()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        settings = Settings(
            realtime_url=f"ws://127.0.0.1:{listening.getsockname()[1]}",
            public_url="https://voice.example.com",
            validate_signatures=False,
            max_calls=plan.calls,
            max_sockets_per_address=2 * plan.calls,
        )
        with EngineProcess(settings, cores.engine) as engine, machine.running_on(cores.load):
            Load(Plan(1, FIRST_CALL_S, 1, first=FIRST_CALL, silent=True), listening, engine).run()
            engine.outcome(1)
            before, sockets = engine.sample(), engine.sockets()
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            args = (theirs, engine.media_url, others, plan)
            offering = context.Process(target=offer, args=args, daemon=True)
            if others:
                offering.start()
            loaded = Load(plan, listening, engine).run()
            turned_away = ours.recv() if others else None
            outcome = engine.outcome(plan.calls + 1)
            sockets_left = engine.sockets_beyond(sockets)
    return point(Measured(plan, loaded, outcome, before, sockets_left, load_average)), turned_away


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    plan = Plan(options.calls, options.seconds, options.seed)
    cores = machine.choose_cores()
    alone, _ = hold(plan, cores, 0)
    beset, turned_away = hold(plan, cores, options.calls)
    assert turned_away is not None, "others were offered"
    print(report.table([alone, beset]))
    ordered = sorted(turned_away.waited_s)
    told = ", ".join(f"{count} x {answer}" for answer, count in turned_away.answers.items())
    p99_s = ordered[len(ordered) * 99 // 100]
    print(f"turned away: {told}; after {1000 * p99_s:.0f} ms (p99), {1000 * ordered[-1]:.0f} (max)")
    return 0 if turned_away.all_within(options.calls) else 1


if __name__ == "__main__":
    sys.exit(main())
