from __future__ import annotations

import importlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from prometheus_client.openmetrics import exposition
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families as read_text

from callengine import CallEngine, Settings
from callengine.adapters.prometheus import PrometheusMetrics
from callengine.edges.standalone import StandaloneServer
from callengine.instruments import GAUGES, SUMMED
from callengine.messages import EndCause
from callengine.testing import SimulatedCaller, Wait, WaitUntilHeard
from callengine.testing.sockets import PeerServer, run_client
from tests.adapters.ended import View, ended_call
from tests.house import CALL_S, WAIT_S, model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine.summary import CallSummary

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = ROOT / "docs/grafana-dashboard.json"
ALERTS = ROOT / "docs/alerts.yml"
PAGE = ROOT / "docs/metrics.md"

Scraped = dict[tuple[str, str], float]


def scrape(registry: CollectorRegistry) -> Scraped:
    """Name and labels, in order of their names -> value."""
    return {
        (
            sample.name.removeprefix("callengine_"),
            ",".join(map("=".join, sorted(labels.items()))),
        ): sample.value
        for family in read_text(generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created") and (labels := sample.labels) is not None
    }


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> PrometheusMetrics:
    return PrometheusMetrics(registry)


# ---- one process


def test_a_call_shows_in_the_next_scrape(
    metrics: PrometheusMetrics, registry: CollectorRegistry
) -> None:
    metrics.call_began()
    metrics.call_ended(ended_call())
    told = scrape(registry)
    assert {key: value for key, value in told.items() if value and "_bucket" not in key[0]} == {
        ("calls_began_total", ""): 1,
        ("calls_total", "end=caller_hung_up"): 1,
        ("bargeins_total", ""): 3,
        ("false_bargeins_total", ""): 1,
        ("bargein_clear_seconds_count", ""): 2,
        ("bargein_clear_seconds_sum", ""): pytest.approx(0.32),
        ("late_frames_total", ""): 3,
        ("schedule_resets_total", ""): 2,
        ("dead_air_seconds_count", ""): 1,
        ("dead_air_seconds_sum", ""): 2.2,
        ("model_reconnects_total", ""): 7,
        ("fallbacks_total", ""): 8,
        ("stuck_recoveries_total", ""): 4,
        ("context_errors_total", ""): 5,
        ("actor_restarts_total", ""): 6,
        ("tokens_total", "direction=input,kind=audio"): 700,
        ("tokens_total", "direction=input,kind=text"): 300,
        ("tokens_total", "direction=output,kind=audio"): 250,
        ("tokens_total", "direction=output,kind=text"): 50,
        ("cached_tokens_total", ""): 400,
        ("cost_usd_total", ""): 0.25,
    }
    assert told["bargein_clear_seconds_bucket", "le=0.08"] == 1
    assert told["dead_air_seconds_bucket", "le=2.0"] == 0
    assert told["dead_air_seconds_bucket", "le=2.5"] == 1
    assert told["frame_lateness_seconds_bucket_total", "le=0.02"] == 95
    assert told["frame_lateness_seconds_bucket_total", "le=+Inf"] == 100


def test_what_has_not_happened_yet_is_0_and_not_missing(
    metrics: PrometheusMetrics, registry: CollectorRegistry
) -> None:
    """Prometheus sees no increase in a series that begins with 1."""
    told = scrape(registry)
    for cause in EndCause:
        assert told["calls_total", f"end={cause}"] == 0
    assert told["frame_lateness_seconds_bucket_total", "le=+Inf"] == 0


def test_gauges_are_read_when_they_are_scraped(
    metrics: PrometheusMetrics, registry: CollectorRegistry
) -> None:
    shed = {"calls": 3, "diagnostics": 40, "recordings": 5}
    view = View(active_calls=2, slots_free=18, mailbox_depth=5, journal_waiting=7, shed=shed)
    metrics.watch(view)
    assert (
        scrape(registry).items()
        >= {
            ("calls_active", ""): 2,
            ("slots_free", ""): 18,
            ("draining", ""): 0,
            ("strained", ""): 0,
            ("shed_calls", ""): 3,
            ("shed_diagnostics", ""): 40,
            ("shed_recordings", ""): 5,
            ("mailbox_depth", ""): 5,
            ("journal_waiting", ""): 7,
        }.items()
    )
    view.active_calls, view.draining, view.strained = 1, True, True
    changed = {("calls_active", ""): 1, ("draining", ""): 1, ("strained", ""): 1}
    assert scrape(registry).items() >= changed.items()


def test_engines_may_share_metrics(metrics: PrometheusMetrics, registry: CollectorRegistry) -> None:
    metrics.watch(View(slots_free=3))
    metrics.watch(View(slots_free=4))
    assert scrape(registry)["slots_free", ""] == 7


def test_an_engine_that_has_not_started_has_no_gauges(
    metrics: PrometheusMetrics, registry: CollectorRegistry
) -> None:
    """0 free slots would say that it is full."""
    assert ("slots_free", "") not in scrape(registry)


def test_calls_end_in_many_threads(metrics: PrometheusMetrics, registry: CollectorRegistry) -> None:
    call = ended_call()

    def end() -> None:
        for _ in range(50):
            metrics.call_ended(call)

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = scrape(registry)
    assert told["calls_total", "end=caller_hung_up"] == 400
    assert told["dead_air_seconds_count", ""] == 400
    assert told["frame_lateness_seconds_bucket_total", "le=0.05"] == 400 * 98


def test_the_strict_format_is_readable_too(
    metrics: PrometheusMetrics, registry: CollectorRegistry
) -> None:
    metrics.watch(View())
    metrics.call_ended(ended_call())
    text = exposition.generate_latest(registry).decode()
    assert len(list(read_open_metrics(text))) == len(SUMMED) + len(GAUGES)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "callengine.adapters.prometheus")
    with pytest.raises(ImportError, match=r"pip install 'callengine\[prometheus\]'"):
        importlib.import_module("callengine.adapters.prometheus")


@pytest.mark.realtime
def test_a_call_that_is_held_by_an_engine(
    metrics: PrometheusMetrics, registry: CollectorRegistry
) -> None:
    told: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()
    during: list[tuple[float, float]] = []

    def look(_: float) -> None:
        if ("calls_active", "") in (now := scrape(registry)):
            during.append((now["calls_active", ""], now["slots_free", ""]))

    with PeerServer(model) as models:
        settings = Settings(realtime_url=models.url, validate_signatures=False, max_calls=5)
        engine = CallEngine(settings, metrics=metrics)
        with StandaloneServer(engine, on_call=told.put) as server:
            caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.3)])
            run_client(caller, server.media_url, deadline_s=CALL_S, on_progress=look)
            summary = told.get(timeout=WAIT_S)
    now = scrape(registry)
    assert (1, 4) in during
    assert now["calls_began_total", ""] == 1
    assert now["calls_total", "end=caller_hung_up"] == 1
    assert now["frame_lateness_seconds_bucket_total", "le=+Inf"] == summary.transmission.frames > 0
    assert (now["calls_active", ""], now["slots_free", ""]) == (0, 0), "it is stopped"


# ---- several processes

WORKER = """
import sys, threading
from callengine.adapters import prometheus
from prometheus_client import CollectorRegistry
from tests.adapters.ended import View, ended_call

class Sampled(View):
    reads, again = 0, threading.Event()
    def __getattribute__(self, name):
        if name == "active_calls":
            Sampled.reads += 1
            if Sampled.reads > 2:
                Sampled.again.set()
        return super().__getattribute__(name)

prometheus.SAMPLE_S = 0.01
metrics = prometheus.PrometheusMetrics(CollectorRegistry())
view = Sampled(active_calls=1, slots_free=10)
metrics.watch(view)
metrics.call_began()
metrics.call_ended(ended_call())
view.active_calls, view.draining = int(sys.argv[1]), True
Sampled.reads = 0
Sampled.again.clear()
assert Sampled.again.wait(10), "written down, and being read again"
print("sampled", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(active)],
            cwd=ROOT,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for active in (3, 4)
    ]
    yield started
    for worker in started:
        worker.communicate()


def test_several_processes_are_scraped_as_one(
    workers: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "sampled\n"
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(tmp_path))
    told = scrape(registry)
    assert told["calls_began_total", ""] == 2
    assert told["calls_total", "end=caller_hung_up"] == 2
    assert told["calls_total", "end=crashed"] == 0
    assert told["frame_lateness_seconds_bucket_total", "le=+Inf"] == 200
    assert told["dead_air_seconds_count", ""] == 2
    assert told["dead_air_seconds_bucket", "le=2.5"] == 2
    assert told["calls_active", ""] == 3 + 4
    assert told["slots_free", ""] == 20
    assert told["draining", ""] == 2, "gauges are written down again and again"
    multiprocess.mark_process_dead(workers[0].pid, str(tmp_path))
    told = scrape(registry)
    assert told["calls_active", ""] == 4
    assert told["calls_total", "end=caller_hung_up"] == 2, "what was counted stays counted"


# ---- the documents

METRIC = re.compile(r"\bcallengine_[a-z_]+")


@pytest.fixture
def exported(metrics: PrometheusMetrics, registry: CollectorRegistry) -> set[str]:
    metrics.watch(View())
    return {f"callengine_{name}" for name, _ in scrape(registry)}


def expressions() -> dict[str, list[str]]:
    """Where -> the queries there."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    asked = {panel["title"]: [each["expr"] for each in panel["targets"]] for panel in panels}
    alerts = ALERTS.read_text("utf-8").split("- alert: ")[1:]
    for alert in alerts:
        block = re.search(r"expr: \|\n(.*?)\n        for:", alert, re.DOTALL)
        assert block is not None, alert
        asked[alert.split("\n")[0]] = [block[1]]
    return asked


def test_dashboard_and_alerts_ask_for_what_there_is(exported: set[str]) -> None:
    for place, asked in expressions().items():
        for expression in asked:
            named = set(METRIC.findall(expression))
            assert named, place
            assert named <= exported, place


def test_dashboard_and_alerts_select_by_labels_that_there_are() -> None:
    ours = {label for each in SUMMED for label in each.labels} | {"job", "instance"}
    for place, asked in expressions().items():
        for expression in asked:
            grouped = re.findall(r"by \(([^)]*)\)", expression)
            labels = {label for group in grouped for label in group.split(", ")}
            labels |= set(re.findall(r"(\w+)=~?\"", expression))
            assert labels <= ours, place
            for pattern in re.findall(r'end=~"([^"]*)"', expression):
                assert any(re.fullmatch(pattern, cause) for cause in EndCause), place


def family(name: str) -> str:
    return re.sub(r"(?<=_seconds)_(bucket|count|sum)$", "", name)


def test_every_metric_is_on_the_dashboard(exported: set[str]) -> None:
    shown = {family(name) for name in METRIC.findall(DASHBOARD.read_text("utf-8"))}
    assert {family(name) for name in exported} <= shown


def test_every_metric_is_explained(exported: set[str]) -> None:
    page = PAGE.read_text("utf-8")
    assert set(METRIC.findall(page)) == {family(name) for name in exported}
    for each in (*SUMMED, *GAUGES):
        assert f"`callengine.{each.name}`" in page
        assert each.description.rstrip(".") in page


def test_every_panel_can_be_drawn() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(panels))) == variables
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells


def test_every_alert_is_whole() -> None:
    text = ALERTS.read_text("utf-8")
    assert "\t" not in text
    assert text.count("- alert: ") == len(re.findall(r"- alert: Callengine\w+\n", text)) == 9
    for alert in text.split("      - alert: ")[1:]:
        keys = re.findall(r"^        ([a-z]+):", alert, re.MULTILINE)
        assert keys == ["expr", "for", "labels", "annotations"]
        assert re.search(r"^          severity: (warning|critical)$", alert, re.MULTILINE)
        texts = re.findall(r"^          (summary|description): (['\"]).+\2$", alert, re.MULTILINE)
        assert [name for name, _ in texts] == ["summary", "description"]
        expression = alert.partition("expr: |")[2].partition("\n        for:")[0]
        assert all(expression.count(a) == expression.count(b) for a, b in ("()", "[]", "{}"))
