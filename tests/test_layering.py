"""Who may import whom: one table, checked against every module of the package."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import callengine

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(callengine.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

PURE = {"numpy", "audioop"}
IMPURE_STDLIB = {
    "asyncio",
    "concurrent",
    "datetime",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "queue",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "threading",
    "time",
    "uuid",
}

# Part of the package -> the parts it may import. A part is a module or a package directly below
# `callengine`; `testing/realtime` and `testing/caller` are parts of their own, because the
# simulators must not share the engine's opinion of a protocol.
ARROWS = {
    # Values and decisions, all pure.
    "errors": set(),
    "values": set(),
    "messages": {"values"},
    "audio": {"values"},
    "wire": {"values"},
    "machines": {"audio", "wire", "messages", "values"},
    # Values with a consequence.
    "hosts": {"errors"},
    "collector": set(),
    "settings": {"errors"},
    "security": {"errors", "settings"},
    "logs": {"security"},  # of it only what makes a text fit to be read
    "agent": {"errors", "messages", "wire"},
    "reports": {"machines", "messages", "values"},
    "summary": {"machines", "messages", "reports"},
    "records": {"summary"},
    "record_codec": {"machines", "messages", "records", "summary"},
    "metrics": {"logs", "summary"},
    "instruments": {"machines", "messages", "metrics", "summary"},
    # Who does it, and with whom.
    "store": {"errors", "machines", "records", "settings", "summary"},  # of most only the types
    "actors": {
        "audio",
        "wire",
        "machines",
        "messages",
        "agent",
        "settings",
        "reports",
        "summary",
        "logs",
        "security",
        "errors",
        "records",
        "record_codec",
        "values",
    },
    "edges": {"actors", "errors", "hosts", "messages", "logs", "security"},  # see `EDGES_MAY_USE`
    "reception": {"agent", "errors", "messages", "store"},
    "gate": {"errors", "machines", "security"},
    "backstage": {
        "actors",
        "agent",
        "edges",
        "logs",
        "machines",
        "metrics",
        "reception",
        "records",
        "security",
        "settings",
        "store",
    },
    "holding": {
        "actors",
        "backstage",
        "edges",
        "errors",
        "gate",
        "logs",
        "messages",
        "settings",
        "summary",
    },
    "engine": {
        "holding",
        "actors",
        "agent",
        "backstage",
        "edges",
        "errors",
        "gate",
        "hosts",
        "logs",
        "machines",
        "messages",
        "metrics",
        "security",
        "settings",
        "store",
        "summary",
    },
    "workers": {"edges", "engine", "logs", "machines", "security"},
    "adapters": {"agent", "edges", "engine", "instruments", "metrics", "summary"},
    "database": {"errors", "settings", "store"},
    "doctor": {"actors", "edges", "errors", "hosts", "messages", "security", "settings", "store"},
    # Everything together.
    "__init__": {"agent", "engine", "errors", "logs", "messages", "settings", "summary"},
    "__main__": {"cli"},
    "cli": {
        "agent",
        "collector",
        "database",
        "doctor",
        "edges",
        "engine",
        "errors",
        "logs",
        "settings",
        "summary",
        "testing",
        "testing/bench",
        "testing/caller",
        "testing/explore",
        "workers",
    },
    # The test kit.
    "testing": {
        "actors",
        "agent",
        "audio",
        "collector",
        "edges",
        "engine",
        "errors",
        "holding",
        "logs",
        "machines",
        "messages",
        "records",
        "settings",
        "summary",
        "testing/caller",
        "testing/realtime",
    },
    "testing/bench": {
        "agent",
        "audio",
        "collector",
        "edges",
        "engine",
        "errors",
        "machines",
        "messages",
        "settings",
        "summary",
    },
    "testing/explore": {"audio", "machines", "messages", "wire"},
    "testing/caller": {"audio", "testing"},
    "testing/realtime": {"audio", "testing"},
}

# One module -> what it may import beyond what its part may.
EXCEPTIONS = {
    "machines/inbound.py": {"security"},  # of it only the bucket that counts messages
    "edges/site.py": {"agent", "engine", "settings", "summary"},  # their types
    "edges/admission.py": {"wire"},
    "edges/carrier_stream.py": {"wire"},  # of it only how frames are written, and their limit
    "edges/realtime.py": {"wire"},  # likewise
    "edges/twiml.py": {"settings"},  # the type of one of them
    "edges/asgi.py": {"agent", "engine", "summary", "wire"},  # of `wire` only the size limit
    "edges/standalone.py": {"engine", "settings", "summary", "wire"},  # likewise
    "adapters/flask.py": {"errors", "hosts"},
    "adapters/wsgi_socket.py": {"errors", "wire"},  # likewise
}

# Of the actors edges know nothing but where things run.
EDGES_MAY_USE = {"callengine.actors.loop", "callengine.actors.threads"}

# Of the rest of the test kit the simulators may use only what knows neither protocol.
SIMULATORS_MAY_USE = {
    "callengine.testing.peer",
    "callengine.testing.sockets",
    "callengine.testing.speech",
}

# Third-party module -> where alone it may be imported.
THIRD_PARTY = {
    "pykka": {"actors", "engine", "testing/held.py", "testing/crowd/engine_process.py"},
    "loguru": {
        "actors",
        "backstage",
        "doctor",
        "edges",
        "engine",
        "holding",
        "logs",
        "testing",
        "workers",
    },
    "websocket": {"edges/realtime.py"},
    "websockets": {
        "edges/standalone.py",
        "edges/carrier_stream.py",
        "testing",
        "testing/realtime/door.py",
    },
    "numpy": {"audio", "testing", "testing/caller", "testing/realtime"},
    "audioop": {"audio", "testing", "testing/caller", "testing/realtime"},
    "starlette": {"adapters"},
    "fastapi": {"adapters"},
    "django": {"adapters"},
    "flask": {"adapters/flask.py"},
    "flask_sock": {"adapters/flask.py"},
    "simple_websocket": {"adapters/flask.py", "adapters/wsgi_socket.py"},
    "wsproto": {"adapters/flask.py", "adapters/wsgi_socket.py"},
    "gunicorn": {"doctor"},
    "prometheus_client": {"adapters/prometheus.py"},
    "opentelemetry": {"adapters/otel.py"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def part_of(path: Path) -> str:
    *folders, file = path.relative_to(ROOT).parts
    below = "/".join(folders[:2])
    if below in ARROWS:
        return below
    return folders[0] if folders else file.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Full names of all imported modules, those in functions and under TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: imports are absolute"
            assert node.module is not None
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                is_module = (ROOT.parent / below.replace(".", "/")).with_suffix(".py").exists()
                yield below if is_module else node.module


def part_named(module: str) -> str:
    """The part that a `callengine...` module belongs to."""
    _, *names = module.split(".")
    below = "/".join(names[:2])
    return below if below in ARROWS else (names[0] if names else "__init__")


IMPORTS = {path: frozenset(imported(path)) for path in MODULES}


def ours(path: Path) -> set[str]:
    """The modules of the package that a module imports."""
    return {module for module in IMPORTS[path] if module.split(".")[0] == "callengine"}


def test_every_part_is_in_the_table() -> None:
    assert {part_of(path) for path in MODULES} == ARROWS.keys()


def test_the_table_has_no_circle_but_the_known_ones() -> None:
    """The simulators use the test kit's clips; calls in the test kit use the simulators."""
    reaches = {part: set(arrows) for part, arrows in ARROWS.items()}
    for _ in reaches:
        for part, arrows in reaches.items():
            reaches[part] = arrows.union(*(reaches[arrow] for arrow in arrows))
    circular = {part for part, arrows in reaches.items() if part in arrows}
    assert circular == {"testing", "testing/caller", "testing/realtime"}


def test_arrows_point_one_way() -> None:
    wrong = [
        f"{name_of(path)} -> {module}"
        for path in MODULES
        for module in ours(path)
        if part_named(module)
        not in ARROWS[part_of(path)] | EXCEPTIONS.get(name_of(path), set()) | {part_of(path)}
    ]
    assert not wrong


def test_the_simulators_share_no_protocol_with_the_engine() -> None:
    wrong = [
        f"{name_of(path)} -> {module}"
        for path in MODULES
        if part_of(path) in {"testing/caller", "testing/realtime"}
        for module in ours(path)
        if part_named(module) == "testing" and module not in SIMULATORS_MAY_USE
    ]
    assert not wrong


def test_edges_know_nothing_of_calls() -> None:
    wrong = [
        f"{name_of(path)} -> {module}"
        for path in MODULES
        if part_of(path) in {"edges", "doctor"}
        for module in ours(path)
        if part_named(module) == "actors" and module not in EDGES_MAY_USE
    ]
    assert not wrong


def test_the_pure_parts_know_no_time_no_thread_and_no_chance() -> None:
    tops = {
        (name_of(path), module.split(".")[0])
        for path in MODULES
        if part_of(path) in {"machines", "wire", "audio", "messages", "errors"}
        for module in IMPORTS[path]
    }
    allowed = (sys.stdlib_module_names - IMPURE_STDLIB) | PURE | {"callengine"}
    assert not [(name, top) for name, top in tops if top not in allowed]


def test_third_party_modules_stay_where_they_belong() -> None:
    known = (sys.stdlib_module_names | {"callengine"}) - THIRD_PARTY.keys()
    wrong = [
        f"{name_of(path)} -> {module}"
        for path in MODULES
        for module in IMPORTS[path]
        if (top := module.split(".")[0]) not in known
        and not {part_of(path), name_of(path)} & THIRD_PARTY.get(top, set())
    ]
    assert not wrong


def test_nothing_but_the_command_line_and_the_test_kit_prints() -> None:
    wrong = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        if part_of(path).split("/")[0] not in {"cli", "database", "doctor", "testing"}
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name) and node.id in {"print", "breakpoint", "input"}
    ]
    assert not wrong


def test_importing_the_package_starts_nothing_and_needs_no_extra() -> None:
    """What the bare package imports at once is what `install_requires` brings."""
    seen: set[str] = set()
    waiting = ["callengine"]
    third_party: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        file = ROOT.parent.joinpath(*module.split("."))
        path = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
        for name in at_once(path):
            top = name.split(".")[0]
            if top == "callengine":
                waiting.append(name)
            elif top not in sys.stdlib_module_names or top == "audioop":
                third_party.add(top)
    assert third_party <= {"pykka", "loguru", "websocket", "numpy", "audioop", "sqlalchemy"}
    assert not any(module.startswith("callengine.testing") for module in seen)


def at_once(path: Path) -> Iterator[str]:
    """What importing a module imports: the statements at its top."""
    tree = ast.parse(path.read_text("utf-8"))
    body = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    for node in ast.walk(body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
