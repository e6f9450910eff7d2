"""How much lead does the pacer need? Gaps at the ear, for leads from 0 to 200 ms.

    python benchmarks/lead.py            a scheduler with invented jitter, on a virtual clock
    python benchmarks/lead.py --real     this machine, with a thread that hogs the interpreter

Both play ten-second replies through the real outbound machine and measure at a carrier that plays
back to back from arrival: a gap is time in which it had nothing to play in the middle of a reply.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from collections.abc import Callable, Iterator

from callengine.audio.g711 import FRAME_S
from callengine.machines.transmission import Transmission
from callengine.machines.transmission_terms import SendMedia
from callengine.messages import AudioComplete, DeadlineReached, PlayAudio, StreamStarted

LEADS_MS = (0, 20, 40, 60, 80, 100, 140, 200)
REPLY_S = 10.0
REPLY = b"\x55" * int(REPLY_S * 8000)


def pacer(lead_ms: int) -> Transmission:
    return Transmission(lead_s=lead_ms / 1000, mark_every_frames=10, false_trigger_s=0.5)


def gaps_s(arrivals: list[float]) -> Iterator[float]:
    """Silence inside one reply, for frames that arrive at these times."""
    plays_until = arrivals[0]
    for at in arrivals:
        if at > plays_until:
            yield at - plays_until
        plays_until = max(plays_until, at) + FRAME_S


def play(machine: Transmission, number: int, wait_until: Callable[[float], float]) -> list[float]:
    """Play one reply; `wait_until` says when the wake-up for a time really came."""
    response, arrivals = f"r{number}", []
    now = wait_until(0.0)
    actions = machine.handle(PlayAudio(response, "item", 0, REPLY, 0), now)
    actions += machine.handle(AudioComplete(response), now)
    while True:
        arrivals += [now for action in actions if isinstance(action, SendMedia)]
        due = machine.next_deadline()
        if due is None:
            return arrivals
        now = wait_until(due)
        actions = machine.handle(DeadlineReached(), now)


def jittery(seed: int) -> Callable[[float], float]:
    """Wake-ups up to 2 ms late, one in 100 late by 25 ms on average, one in 1000 by 80 ms."""
    dice = random.Random(seed)
    clock = [0.0]

    def wait_until(due: float) -> float:
        late = dice.uniform(0.0, 0.002)
        chance = dice.random()
        if chance < 0.001:
            late += dice.expovariate(1 / 0.080)
        elif chance < 0.011:
            late += dice.expovariate(1 / 0.025)
        clock[0] = max(clock[0], due) + late
        return clock[0]

    return wait_until


def real(due: float) -> float:
    time.sleep(max(due - time.monotonic(), 0.0))
    return time.monotonic()


def hog(stop: threading.Event) -> None:
    """A host that computes: bursts of pure Python, as a busy web application has them."""
    while not stop.is_set():
        sum(n * n for n in range(200_000))
        time.sleep(0.002)


def row(lead_ms: int, replies: int, wait_until: Callable[[float], float]) -> str:
    machine = pacer(lead_ms)
    machine.handle(StreamStarted("MZ", "CA", {}), wait_until(0.0))
    gaps = [gap for n in range(replies) for gap in gaps_s(play(machine, n, wait_until))]
    heard = [gap for gap in gaps if gap >= 0.001]
    minutes = replies * REPLY_S / 60
    counts = machine.counts
    return (
        f"{lead_ms:7}  {len(heard) / minutes:13.1f}  {1000 * sum(heard) / minutes:15.1f}"
        f"  {1000 * max(gaps, default=0):12.1f}  {counts.late_frames / counts.frames:10.2%}"
        f"  {counts.schedule_resets:6}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", action="store_true", help="this machine under load")
    parser.add_argument("--replies", type=int, help="ten-second replies for each lead")
    options = parser.parse_args()
    print("lead ms  gaps a minute  silent ms/minute  longest (ms)  late frames  resets")
    stop = threading.Event()
    if options.real:
        threading.Thread(target=hog, args=(stop,), daemon=True).start()
    for lead_ms in LEADS_MS:
        wait_until = real if options.real else jittery(seed=1)
        print(row(lead_ms, options.replies or (3 if options.real else 360), wait_until), flush=True)
    stop.set()


if __name__ == "__main__":
    main()
