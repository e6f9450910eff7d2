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
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from callengine import Settings
from callengine.edges.standalone import WEBHOOK_PATH
from callengine.testing.bench import machine, report
from callengine.testing.bench.load import Plan
from callengine.testing.bench.run import hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

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


class Others:
    """As many callers as a plan has calls. After the load `turned_away` is what became of them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.turned_away = TurnedAway(Counter(), [])

    @contextmanager
    def beside(self, media_url: str) -> Iterator[None]:
        """In a process of its own: the load must not be late for their sake."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        args = (theirs, media_url, self._plan)
        context.Process(target=offer, args=args, daemon=True).start()
        theirs.close()
        yield
        self.turned_away = ours.recv()


def offer(pipe: Connection, media_url: str, plan: Plan) -> None:
    answers: Counter[str] = Counter()
    waited_s: list[float] = []
    begins_at = time.monotonic() + plan.entry_s + plan.settling_s
    for number in range(plan.calls):
        time.sleep(max(begins_at + plan.seconds * number / plan.calls - time.monotonic(), 0.0))
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    plan = Plan(options.calls, options.seconds, options.seed)
    settings = Settings(
        public_url="https://voice.example.com",
        validate_signatures=False,
        max_calls=plan.calls,  # not a slot to spare
        max_sockets_per_address=2 * plan.calls,
    )
    cores, others = machine.choose_cores(), Others(plan)
    alone = hold(plan, settings, cores)
    beset = hold(plan, settings, cores, beside=others.beside)
    turned_away = others.turned_away
    print(report.table([alone, beset]))
    ordered = sorted(turned_away.waited_s)
    told = ", ".join(f"{count} x {answer}" for answer, count in turned_away.answers.items())
    p99_s = ordered[len(ordered) * 99 // 100]
    print(f"turned away: {told}; after {1000 * p99_s:.0f} ms (p99), {1000 * ordered[-1]:.0f} (max)")
    return 0 if turned_away.all_within(plan.calls) else 1


if __name__ == "__main__":
    sys.exit(main())
