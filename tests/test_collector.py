"""The garbage collector of a process that holds calls and nothing else."""

from __future__ import annotations

import subprocess
import sys


def test_what_is_there_is_looked_at_no_more_and_full_passes_are_rare() -> None:
    program = (
        "import gc\n"
        "from callengine.collector import pass_seldom\n"
        "kept = [[] for _ in range(1000)]\n"
        "pass_seldom()\n"
        "assert gc.get_freeze_count() > 1000, gc.get_freeze_count()\n"
        "full = []\n"
        "gc.callbacks.append(lambda when, what: full.append(what['generation'] == 2))\n"
        "calls = [[] for _ in range(300_000)]\n"
        "assert len(full) > 10 and not any(full), (len(full), sum(full))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
