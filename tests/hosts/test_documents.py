"""What docs/ and examples/ tell people to type: servers take it, and it can hold calls."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from callengine import Settings
from callengine.doctor.host import read_gunicorn
from tests.hosts.servers import ROOT

PAGES = [
    *(ROOT / "docs" / name for name in ("hosts.md", "deploy.md")),
    *sorted((ROOT / "examples").rglob("*.py")),
]


def commands(server: str) -> list[Any]:
    """The lines that begin with a server, perhaps behind variables."""
    pattern = rf"^ *((?:[A-Z_]+=\S+ )*{server} .+:app.*)$"
    return [
        pytest.param(line, id=f"{page.name}: {line[:40]}")
        for page in PAGES
        for line in re.findall(pattern, page.read_text("utf-8"), re.MULTILINE)
    ]


@pytest.mark.parametrize("line", commands("gunicorn"))
def test_gunicorn_so_started_holds_the_calls(line: str) -> None:
    words = shlex.split(line)
    begin = words.index("gunicorn")
    said = dict(word.split("=", 1) for word in words[:begin])
    workers = read_gunicorn(shlex.join(words[begin:]).replace("--chdir examples", ""))
    assert workers.why_unfit(Settings.from_env(said).max_calls) is None
    assert not workers.preload
    assert workers.max_requests == 0


@pytest.mark.parametrize("line", commands("uvicorn"))
def test_uvicorn_knows_its_options_and_keeps_messages_small(line: str) -> None:
    from uvicorn.main import main

    context = main.make_context("uvicorn", shlex.split(line)[1:])
    assert context.params["ws_max_size"] == 65536
    assert context.params["lifespan"] != "off"


def test_there_are_commands_to_check() -> None:
    assert len(commands("gunicorn")) >= 3
    assert len(commands("uvicorn")) >= 3


def test_the_manifest_gives_a_drain_its_time() -> None:
    page = Path(ROOT / "docs/deploy.md").read_text("utf-8")
    grace, preset, drain = (
        int(re.search(pattern, page)[1])  # type: ignore[index]
        for pattern in (
            r"terminationGracePeriodSeconds: (\d+)",
            r"command: \[sleep, \"(\d+)\"\]",
            r"lifespan\(engine, drain_s=(\d+)\)",
        )
    )
    longest = int(re.search(r"CALLENGINE_MAX_CALL_S, value: \"(\d+)\"", page)[1])  # type: ignore[index]
    assert grace >= preset + drain + 30
    assert drain >= longest
