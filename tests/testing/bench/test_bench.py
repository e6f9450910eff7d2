from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from callengine.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.realtime
@pytest.mark.timeout(60)
def test_three_calls_are_held_and_accounted_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["bench", "--calls", "3", "--seconds", "3", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    body = json.loads((tmp_path / "bench.json").read_text("utf-8"))
    (point,) = body["points"]
    assert point["faults"] == [], printed
    assert status == (0 if not point["invalid"] else 1)
    assert (tmp_path / "bench.svg").read_text("utf-8").startswith("<svg")
    assert (point["calls"], body["seed"]) == (3, 1)
    assert point["seconds"] == pytest.approx(3.0, abs=0.5)
    assert 0 < point["cost"]["cpu_ms_per_call_s"] < 500
    assert point["cost"]["threads_peak"] >= 1
    assert point["hearing"]["frames"] == point["pacing"]["frames"] > 100
    assert point["hearing"]["first_frame_ms"]["count"] >= 1
    assert point["load"]["questions"] >= 3
    assert point["load"]["replies"] >= 1
    assert point["load"]["busy"] < 1.0
    assert "CPU ms per" in printed


def test_what_is_no_list_of_numbers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("0", "10,,20", "many"):
        with pytest.raises(SystemExit):
            main(["bench", "--calls", wrong])
    assert "--calls" in capsys.readouterr().err
