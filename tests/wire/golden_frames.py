"""The example messages under `golden/`, each beginning with who sends it: in, out, server..."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "golden"


def frames(folder: str, prefix: str) -> dict[str, dict[str, Any]]:
    """Name without prefix and ending -> message, for every example of that prefix."""
    paths = sorted((_FOLDER / folder).glob(f"{prefix}.*.json"))
    assert paths, f"no {prefix} examples in {folder}"
    return {path.stem.removeprefix(f"{prefix}."): json.loads(path.read_text()) for path in paths}


def without(frame: dict[str, Any], path: str) -> dict[str, Any]:
    """A copy of `frame` lacking the field at the dotted `path`."""
    pruned = copy.deepcopy(frame)
    *parents, leaf = path.split(".")
    parent = pruned
    for key in parents:
        parent = parent[key]
    del parent[leaf]
    return pruned


def replaced(frame: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of `frame` with `value` at the dotted `path`."""
    changed = copy.deepcopy(frame)
    *parents, leaf = path.split(".")
    parent = changed
    for key in parents:
        parent = parent[key]
    parent[leaf] = value
    return changed


def paths(frame: dict[str, Any], prefix: str = "") -> list[str]:
    """Every dotted path of `frame`, inside nested objects too."""
    found = []
    for key, value in frame.items():
        found.append(f"{prefix}{key}")
        if isinstance(value, dict):
            found.extend(paths(value, f"{prefix}{key}."))
    return found
