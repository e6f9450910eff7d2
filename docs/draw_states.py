"""Draws docs/states.md from the machines' own tables: `python docs/draw_states.py`.

A test runs this and compares, so that the diagrams cannot drift from the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from callengine.machines import barge_in, dialogue, inbound, lifecycle, response, session

PAGE = Path(__file__).with_name("states.md")

MACHINES = {
    "Response slot": (response, "IDLE"),
    "Barge-in": (barge_in, "LISTENING"),
    "Carrier stream": (inbound, "WAITING"),
    "Dialogue": (dialogue, "WAITING"),
    "Model session": (session, "CONNECTING"),
    "Call": (lifecycle, "SERVING"),
}


def diagram(table: Mapping[tuple[Enum, type], Enum], first: str) -> str:
    """One mermaid state diagram; events between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for (state, event), then in table.items():
        arrows.setdefault((state.name, then.name), []).append(event.__name__)
    lines = [
        f"    {here} --> {there}: {', '.join(events)}" for (here, there), events in arrows.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *lines, "```"])


def section(title: str, module: Any, first: str) -> str:
    """A machine: what it decides, and its states."""
    theory = module.__doc__.strip().split("\n\n")[0]
    name = module.__name__.replace(".", "/")
    return f"## {title}\n\n{theory}\n\n`{name}.py`\n\n{diagram(module.TRANSITIONS, first)}\n"


def page() -> str:
    """The whole page."""
    head = (
        "# State diagrams\n\nDrawn by `docs/draw_states.py` from the tables at the top of each"
        " machine. A pair of state and event that has no arrow changes nothing, but for the few"
        " exceptions that are written beside each table.\n"
    )
    return "\n".join([head, *(section(title, *rest) for title, rest in MACHINES.items())])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
