"""Every example runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.realtime
@pytest.mark.timeout(60)
def test_the_local_call_tells_what_it_saw() -> None:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / "local_call.py"],
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert "1 interruption; the AI was silent" in ran.stdout
    assert ran.stderr == ""


def test_the_agent_test_passes() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLES],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
