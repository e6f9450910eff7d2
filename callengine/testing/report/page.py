"""The report of a test call as one HTML file that needs nothing else, not even a network.

Decides how the data is put into `page.html`, whose style and script (the files of the same
name) alone decide how it looks. All text is data: it is escaped wherever it lands, and the page's
content security policy runs no script but its own and lets it reach no other address.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Final

from callengine.audio import g711
from callengine.testing.report.call_report import (
    CallReport,
    Moment,
    Row,
    equally_long,
    json_text,
    verdict,
)

if TYPE_CHECKING:
    from pathlib import Path

_WAVE_FORMAT_MULAW: Final = 7
_SHORTEST_AXIS_S: Final = 1.0
_PLACEHOLDER: Final = re.compile(r"\{\{(\w+)\}\}")


def write_page(path: Path, report: CallReport) -> None:
    """Write the page, about 1.3 MB per minute of call; the same report gives the same bytes.

    Raises TypeError or ValueError, before the file is touched, when the summary is not JSON or a
    time is not a finite number.
    """
    # Text may hold lone surrogates, which JSON can carry and UTF-8 cannot.
    path.write_bytes(_page(report).encode("utf-8", "replace"))


def _page(report: CallReport) -> str:
    style, script = _asset("page.css"), _asset("page.js")
    moments = sorted(report.moments, key=lambda moment: moment.at_s)
    values = {
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "timeline": _timeline(report, moments),
        "sound": base64.b64encode(_mulaw_wav(report.caller, report.heard)).decode("ascii"),
        "title": escape(report.title),
        "outcome": "pass" if report.passed else "fail",
        "verdict": escape(verdict(report.rows)),
        "length": _clock(report.seconds),
        "rows": "\n".join(map(_row, report.rows)),
        "moment_count": str(len(moments)),
        "moments": "\n".join(map(_moment, moments)),
        "summary": escape(json_text(report.summary)),
    }
    # One pass, so that a placeholder inside the call's own text stays text.
    return _PLACEHOLDER.sub(lambda match: values[match[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy: this one style, this one script, sound from memory, no more."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
        for text in (style, script)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; "
        "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _row(row: Row) -> str:
    outcome = "pass" if row.passed else "fail"
    sign = "✓ pass" if row.passed else "✗ FAIL"
    return (
        f'<tr class="{outcome}"><th scope="row">{escape(row.name)}</th>'
        f"<td>{escape(row.measured)}</td><td>{escape(row.required)}</td>"
        f'<td class="sign">{sign}</td></tr>'
    )


def _moment(moment: Moment) -> str:
    return (
        f'<tr><td><button type="button" class="at" data-at="{moment.at_s:.4f}">'
        f"{_clock(moment.at_s)}</button></td>"
        f"<td>{escape(moment.kind)}</td><td>{escape(moment.label)}</td></tr>"
    )


def _timeline(report: CallReport, moments: list[Moment]) -> str:
    """What the page's script draws: JSON that no text in it can break out of."""
    data = {
        "seconds": _axis_s(report),
        "lanes": [
            {
                "name": lane.name,
                "spans": [[round(s.start_s, 4), round(s.end_s, 4), s.label] for s in lane.spans],
            }
            for lane in report.lanes
        ],
        "moments": [[round(m.at_s, 4), m.kind, m.label] for m in moments],
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _axis_s(report: CallReport) -> float:
    """The end of the time axis: whatever lasts longest is still on it."""
    return max(
        _SHORTEST_AXIS_S,
        report.seconds,
        len(report.caller) / g711.SAMPLE_RATE_HZ,
        len(report.heard) / g711.SAMPLE_RATE_HZ,
        *(span.end_s for lane in report.lanes for span in lane.spans),
        *(moment.at_s for moment in report.moments),
    )


def _mulaw_wav(left: bytes, right: bytes) -> bytes:
    """A stereo mu-law WAV: half the size of PCM, and the very bytes of the call."""
    left, right = equally_long(left, right)
    samples = bytearray(2 * len(left))
    samples[0::2], samples[1::2] = left, right
    rate = g711.SAMPLE_RATE_HZ
    fmt = struct.pack("<4sIHHIIHHH", b"fmt ", 18, _WAVE_FORMAT_MULAW, 2, rate, 2 * rate, 2, 8, 0)
    fact = struct.pack("<4sII", b"fact", 4, len(left))
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    body = b"WAVE" + fmt + fact + data
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f"{minutes}:{rest // 1000:02}.{rest % 1000:03}"
