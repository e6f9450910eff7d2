from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import struct
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.audio import g711
from callengine.testing.report.call_report import CallReport, Kind, Lane, Moment, Row, Span
from callengine.testing.report.page import write_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RATE = g711.SAMPLE_RATE_HZ
HOSTILE = (
    "</script><script>document.title='broken'</script>",
    "</title></pre></td><img src=x onerror=\"document.title='broken'\">",
    "</script <img x",
    "<!--<script>",
    "\" onmouseover='x' &lt; &amp; {{sound}} {{title}} \\1 \u2028 \u202e \x00 \r\n",
)


def burst(duration_s: float, pitch_hz: float, level: int = 9000) -> bytes:
    """Something speech-like: a buzz whose loudness rises and falls some four times a second."""
    t = np.arange(int(duration_s * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * pitch_hz * n * t) / n for n in range(1, 9))
    syllables = np.abs(np.sin(np.pi * 2.1 * t)) * (
        0.6 + 0.4 * np.sin(2 * np.pi * 0.37 * t + pitch_hz)
    )
    return g711.from_pcm16((voice * syllables * level * 0.6).astype(np.int16).tobytes())


def track(seconds: float, spans: tuple[Span, ...], pitch_hz: float) -> bytes:
    audio = bytearray(g711.SILENCE_BYTE * int(seconds * RATE))
    for span in spans:
        start = int(span.start_s * RATE)
        sound = burst(span.end_s - span.start_s, pitch_hz)
        audio[start : start + len(sound)] = sound
    return bytes(audio)


def plausible_report(seconds: float = 60.0) -> CallReport:
    """A call with a guarded greeting, three barge-ins, one false trigger and one late frame."""
    caller = (
        Span(2.1, 2.9, "hello?"),
        Span(7.6, 10.4, "I would like to move my appointment"),
        Span(16.2, 18.0, "no, next week"),
        Span(25.3, 25.6, "cough"),
        Span(31.4, 33.9, "wait, which doctor was that?"),
        Span(42.0, 44.1, "actually make it Thursday"),
        Span(55.0, 56.2, "thank you, bye"),
    )
    playout = (
        Span(0.6, 6.8, "greeting (protected)"),
        Span(11.1, 16.36, "resp_2"),
        Span(18.9, 25.44, "resp_3"),
        Span(26.0, 31.56, "resp_3, resumed"),
        Span(34.7, 42.15, "resp_4"),
        Span(45.0, 53.2, "resp_5"),
        Span(56.9, 59.3, "resp_6"),
    )
    generates = (
        Span(0.3, 1.4, "resp_1"),
        Span(10.7, 12.3, "resp_2"),
        Span(18.4, 21.0, "resp_3"),
        Span(34.2, 42.2, "resp_4"),
        Span(44.4, 46.2, "resp_5"),
        Span(56.5, 57.1, "resp_6"),
    )
    interruptions = [(16.3, "resp_2"), (31.5, "resp_3"), (42.1, "resp_4")]
    moments = [
        Moment(2.2, Kind.GUARDED, "the greeting is protected; the caller's words are kept"),
        Moment(25.4, Kind.FALSE_TRIGGER, "speech of 180 ms, no transcript"),
        Moment(25.4, Kind.CLEAR, "12 marks outstanding"),
        Moment(26.0, Kind.RESUME, "resp_3 from 6,540 ms, 1,180 ms unheard audio kept"),
        Moment(42.13, Kind.CANCEL, "resp_4"),
        Moment(47.86, Kind.LATE_FRAME, "14 ms late"),
        Moment(50.2, Kind.DTMF, "5"),
    ]
    for at_s, response in interruptions:
        moments += [
            Moment(at_s, Kind.BARGE_IN, f"over {response}, 140 ms after the onset"),
            Moment(at_s + 0.004, Kind.CLEAR, "31 frames flushed"),
            Moment(at_s + 0.03, Kind.TRUNCATE, f"{response} at what was heard"),
        ]
    moments += [
        Moment(start + n * 0.4, Kind.MARK, f"g{generation}-{n}")
        for generation, (start, end) in enumerate((s.start_s, s.end_s) for s in playout)
        for n in range(1, int((end - start) / 0.4) + 1)
    ]
    rows = (
        Row("first chunk", "160 bytes", "160 bytes", True),
        Row("schedule resets", "0", "0", True),
        Row("late frames", "1 of 2,214", "at most 5", True),
        Row("barge-ins acted on", "3", "3", True),
        Row("audio cut after the caller's onset, worst", "143 ms", "at most 200 ms", True),
        Row("stuck recoveries", "0", "0", True),
        Row("context errors", "1", "0", False),
        Row("starts of sentences missing", "0", "0", True),
        Row("counters equal to what both sides saw", "all 14", "all 14", True),
    )
    return CallReport(
        title="Test call: appointment, three interruptions",
        seconds=seconds,
        caller=track(seconds, caller, 190),
        heard=track(seconds, playout, 115),
        lanes=(
            Lane("caller speaks", caller),
            Lane("AI generates", generates),
            Lane("playout", playout),
        ),
        moments=tuple(moments),
        rows=rows,
        summary={
            "call_sid": "CA00000000000000000000000000000000",
            "barge_in_events": 3,
            "tx_late_frames": 1,
            "tx_schedule_resets": 0,
            "playout": {"received_bytes": 402560, "sent_bytes": 354240, "flushed_bytes": 48320},
        },
    )


def small_report(text: str = "word") -> CallReport:
    """A short call in which every text of the call's is `text`."""
    return CallReport(
        title=text,
        seconds=2.0,
        caller=burst(0.5, 190),
        heard=burst(1.0, 115),
        lanes=(Lane(text, (Span(0.0, 0.5, text), Span(0.25, 1.0, text))),),
        moments=tuple(Moment(0.1 * n, kind, text) for n, kind in enumerate(Kind)),
        rows=(Row(text, text, text, passed=True),),
        summary={text: [text]},
    )


class Page(HTMLParser):
    """A written page, taken apart: its elements, and the text inside those that have an id."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, list[str]]] = []
        self.texts: dict[str, str] = {}
        self._inside = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.elements.append((tag, sorted(named)))
        self._inside = named.get("id") or tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._inside = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._inside] = self.texts.get(self._inside, "") + data


def written(report: CallReport, folder: Path) -> str:
    path = folder / "report.html"
    write_page(path, report)
    return path.read_bytes().decode("utf-8")


def embedded_sound(report: CallReport, folder: Path) -> bytes:
    return base64.b64decode(Page(written(report, folder)).texts["sound"], validate=True)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_of_the_call_adds_no_element_and_no_attribute(tmp_path: Path, text: str) -> None:
    harmless = Page(written(small_report(), tmp_path))
    hostile = Page(written(small_report(text), tmp_path))
    assert hostile.elements == harmless.elements
    assert sum(tag == "script" for tag, _ in hostile.elements) == 3


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters() | st.sampled_from("<>&\"'/!-{}"), max_size=40))
def test_no_text_at_all_adds_an_element(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    harmless = Page(written(small_report(), folder))
    assert Page(written(small_report(text), folder)).elements == harmless.elements


@pytest.mark.parametrize("text", HOSTILE)
def test_text_reaches_the_timeline_the_tables_and_the_summary_unchanged(
    tmp_path: Path, text: str
) -> None:
    content = written(small_report(text), tmp_path)
    page = Page(content)
    timeline = json.loads(page.texts["timeline"])
    assert timeline["lanes"] == [{"name": text, "spans": [[0.0, 0.5, text], [0.25, 1.0, text]]}]
    assert [moment[2] for moment in timeline["moments"]] == [text] * len(Kind)
    assert json.loads(page.texts["pre"]) == {text: [text]}
    assert page.texts["h1"] == text
    assert html.escape(text) in content


def test_the_embedded_data_holds_nothing_that_html_reads(tmp_path: Path) -> None:
    content = written(small_report("".join(HOSTILE)), tmp_path)
    embedded = content.split('id="timeline">')[1].split('</script>\n<script type="text/plain"')[0]
    assert json.loads(embedded)
    assert not set(embedded) & set("<>&")


def test_text_that_utf_8_cannot_hold_does_not_stop_the_page(tmp_path: Path) -> None:
    timeline = json.loads(Page(written(small_report("\ud83d"), tmp_path)).texts["timeline"])
    assert timeline["lanes"][0]["name"] == "\ud83d"


def test_the_policy_allows_exactly_the_script_and_style_of_the_page(tmp_path: Path) -> None:
    content = written(small_report(), tmp_path)
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', content)
    script = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    style = re.findall(r"<style>(.*?)</style>", content, re.DOTALL)
    hashes = [
        "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (*script, *style)
    ]
    assert len(hashes) == 2
    assert re.findall(r"sha256-[A-Za-z0-9+/=]+", policy[0]) == hashes[::-1]
    assert "default-src 'none'" in policy[0]
    assert "unsafe" not in policy[0]


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path: Path) -> None:
    content = written(plausible_report(), tmp_path)
    for address in ("http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttpRequest"):
        assert address not in content
    assert re.findall(r'href="([^"]*)"', content) == ["data:,"]


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    write_page(tmp_path / "one.html", plausible_report())
    write_page(tmp_path / "two.html", plausible_report())
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_minute_of_call_stays_below_two_megabytes(tmp_path: Path) -> None:
    assert len(written(plausible_report(60.0), tmp_path).encode()) < 2_000_000


def test_the_sound_is_a_stereo_mu_law_wav_of_the_very_bytes(tmp_path: Path) -> None:
    sound = embedded_sound(replace(small_report(), caller=b"\x01\x02", heard=b"\x0a"), tmp_path)
    assert sound[:4] + sound[8:16] == b"RIFFWAVEfmt "
    assert struct.unpack_from("<I", sound, 4) == (len(sound) - 8,)
    assert struct.unpack_from("<IHHIIHHH", sound, 16) == (18, 7, 2, 8000, 16000, 2, 8, 0)
    assert sound[38:] == (
        b"fact" + struct.pack("<II", 4, 2) + b"data" + struct.pack("<I", 4) + b"\x01\x0a\x02\xff"
    )


def test_the_script_finds_the_samples_where_they_are(tmp_path: Path) -> None:
    header = embedded_sound(replace(small_report(), caller=b"", heard=b""), tmp_path)
    assert f"WAV_HEADER_BYTES = {len(header)}," in written(small_report(), tmp_path)


def test_every_kind_of_moment_has_a_shape() -> None:
    script = resources.files("callengine.testing.report").joinpath("page.js").read_text("utf-8")
    assert re.findall(r'^  "([a-z -]+)": \{ path:', script, re.MULTILINE) == list(Kind)


def test_moments_are_listed_in_the_order_of_time(tmp_path: Path) -> None:
    moments = (Moment(61.25, Kind.DTMF, "later"), Moment(0.5, Kind.MARK, "sooner"))
    content = written(replace(small_report(), moments=moments), tmp_path)
    assert re.findall(r'data-at="([^"]*)">([^<]*)<', content) == [
        ("0.5000", "0:00.500"),
        ("61.2500", "1:01.250"),
    ]


@pytest.mark.parametrize(
    ("longer", "axis_s"),
    [
        (replace(small_report(), seconds=7.0), 7.0),
        (replace(small_report(), caller=b"\xff" * 24_000), 3.0),
        (replace(small_report(), heard=b"\xff" * 24_000), 3.0),
        (replace(small_report(), moments=(Moment(4.5, Kind.ERROR, "late"),)), 4.5),
        (replace(small_report(), lanes=(Lane("x", (Span(1.0, 5.5, "late"),)),)), 5.5),
        (CallReport("empty", 0.0, b"", b"", (), (), (), {}), 1.0),
    ],
)
def test_the_axis_reaches_as_far_as_anything_does(
    tmp_path: Path, longer: CallReport, axis_s: float
) -> None:
    timeline = json.loads(Page(written(longer, tmp_path)).texts["timeline"])
    assert timeline["seconds"] == axis_s


def test_the_verdict_is_told_in_words_and_per_row(tmp_path: Path) -> None:
    failing = replace(small_report(), rows=(*small_report().rows, Row("a", "1", "0", passed=False)))
    content = written(failing, tmp_path)
    assert '<span class="verdict fail">1 of 2 checks failed</span>' in content
    assert content.count("✓ pass</td>") == 1
    assert content.count("✗ FAIL</td>") == 1
    assert '<span class="verdict pass">1 of 1 checks passed' in written(small_report(), tmp_path)


@pytest.mark.parametrize(
    "broken",
    [
        replace(small_report(), moments=(Moment(float("nan"), Kind.MARK, ""),)),
        replace(small_report(), moments=(Moment(float("inf"), Kind.MARK, ""),)),
        replace(small_report(), seconds=float("nan")),
        replace(small_report(), seconds=float("inf")),
        replace(small_report(), summary={"x": b""}),
    ],
)
def test_what_is_not_json_is_refused_and_no_file_is_touched(
    tmp_path: Path, broken: CallReport
) -> None:
    with pytest.raises((TypeError, ValueError)):
        write_page(tmp_path / "report.html", broken)
    assert not list(tmp_path.iterdir())


@pytest.mark.realtime
@pytest.mark.timeout(90)
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_draws_a_hostile_page_without_a_complaint(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_page(page, replace(small_report("".join(HOSTILE)), title="title"))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    ran = subprocess.run(
        [*command, page.as_uri()], capture_output=True, text=True, timeout=80, check=False
    )
    assert '<span class="clock" id="clock">0:00.000 / 0:02.000</span>' in ran.stdout
    assert "<title>title</title>" in ran.stdout
    assert "CONSOLE" not in ran.stderr
