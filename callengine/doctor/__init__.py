"""`python -m callengine doctor`: is this set-up fit to hold calls, and if not, what is to be done.

Looks at settings, this machine and what it is told of the host; changes nothing, and shows no
secret. Exit status: 0 nothing failed, 1 something did, 2 it could not be looked at.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from callengine.doctor import configured, host, machine
from callengine.doctor.finding import Finding, Level
from callengine.settings import Settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

__all__ = ["Finding", "Level", "add_parser", "as_json", "as_table", "examine", "run"]


def examine(
    settings: Settings, *, port: int | None = None, gunicorn: str | None = None, online: bool
) -> list[Finding]:
    """Look at everything; takes about a third of a second, longer if `online`.

    `port` is one that is to be listened on, `gunicorn` a command line that is to be run.
    """
    checks: list[tuple[str, Callable[[], Finding | Iterable[Finding]]]] = [
        ("python", machine.python),
        ("model key", lambda: configured.model_key(settings)),
        ("twilio token", lambda: configured.twilio_token(settings)),
        ("public url", lambda: configured.public_url(settings)),
        ("database", lambda: configured.database(settings)),
        ("open files", lambda: machine.open_files(settings.max_calls)),
        ("timers", lambda: machine.timers(settings.lead_ms)),
        ("clock", lambda: machine.clock(settings.realtime_url if online else None)),
        ("uvicorn", host.uvicorn),
    ]
    if port is not None:
        checks.append(("port", lambda: machine.port(port)))
    if gunicorn is not None:
        checks.append(("gunicorn", lambda: host.gunicorn(gunicorn, settings)))
    if online:
        checks.append(("model", lambda: configured.model(settings)))
    return [finding for what, check in checks for finding in _looked(what, check)]


def _looked(what: str, check: Callable[[], Finding | Iterable[Finding]]) -> list[Finding]:
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:  # noqa: BLE001 - the others are looked at too
        # Not its text, which may hold a password.
        return [Finding(Level.FAIL, what, f"cannot be looked at: {type(error).__name__}")]


def add_parser(commands: Any) -> None:  # noqa: ANN401 - argparse names its type privately
    """Add `doctor` to a command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor", help="look at the set-up and say what to do"
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument("--online", action="store_true", help="connect to the model")
    parser.add_argument("--port", type=int, help="that is to be listened on")
    parser.add_argument(
        "--gunicorn", metavar="COMMAND", help='that is to be run, "gunicorn -k gthread ... app"'
    )


def run(options: argparse.Namespace) -> int:
    """Examine what the environment says; the exit status. Raises SettingsError if it is no use."""
    findings = examine(
        Settings.from_env(), port=options.port, gunicorn=options.gunicorn, online=options.online
    )
    print(as_json(findings) if options.json else as_table(findings))
    return 1 if any(finding.level is Level.FAIL for finding in findings) else 0


def as_json(findings: list[Finding]) -> str:
    """`ok`, and the findings."""
    healthy = all(finding.level is not Level.FAIL for finding in findings)
    return json.dumps({"ok": healthy, "findings": [asdict(each) for each in findings]}, indent=2)


def as_table(findings: list[Finding]) -> str:
    """A line for each finding, and one below for what to do."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:5} {finding.what:13} {finding.detail}")
        if finding.fix and finding.level is not Level.OK:
            lines.append(f"{'':19} -> {finding.fix}")
    counts = {level: sum(each.level is level for each in findings) for level in Level}
    lines.append(", ".join(f"{count} {level}" for level, count in counts.items()))
    return "\n".join(lines)
