"use strict";
const el = (id) => document.getElementById(id);
const call = JSON.parse(el("timeline").textContent);
const stage = el("stage"), canvas = el("canvas"), tip = el("tip"), pen = canvas.getContext("2d");
const RATE = 8000, WAV_HEADER_BYTES = 58, BLOCK = 64, SHORTEST_VIEW_S = 0.05;
const GUTTER = 150, EDGE = 20, AXIS_H = 30, WAVE_H = 88, SPAN_H = 25, MOMENT_H = 24, GAP = 10, STRIP_H = 8;
const INK = "#1d2530", MUTED = "#5a6572", LINE = "#e3e7ec", GRID = "#eff1f4";
const COLOURS = ["#2563a8", "#7a4fb5", "#0f766a", "#96610a", "#5a6572"];
const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

// A kind's shape is an SVG path around 0,0. Where `line` is given, a line with that dash pattern
// leads from each such moment up through the waveforms.
const KINDS = {
  "barge-in": { path: "M-6-5H6L0 6Z", colour: "#a8201a", fill: true, line: [] },
  "guarded": { path: "M-5-5H5V1L0 6L-5 1Z", colour: "#2563a8" },
  "false trigger": { path: "M-6-5H6L0 6Z", colour: "#96610a", line: [3, 3] },
  "cancel": { path: "M-5-5L5 5M5-5L-5 5", colour: "#7a4fb5" },
  "clear": { path: "M0-6L6 0L0 6L-6 0Z", colour: "#0f766a", fill: true },
  "truncate": { path: "M-6 0H3M4-6V6", colour: "#7a4fb5" },
  "late frame": { path: "M-5-5H5L-5 5H5Z", colour: "#96610a" },
  "mark": { path: "M0-5V5", colour: "#5a6572" },
  "dtmf": { path: "M-2-6V6M3-6V6M-6-2H6M-6 3H6", colour: "#1d2530" },
  "error": { path: "M-3-6H3L6-3V3L3 6H-3L-6 3V-3Z", colour: "#a8201a", fill: true, line: [8, 4] },
  "resume": { path: "M-5-6L6 0L-5 6Z", colour: "#17693a", fill: true },
};

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));
function time(seconds, digits = 3) {
  const units = Math.round(seconds * 10 ** digits), minute = 60 * 10 ** digits;
  const rest = ((units % minute) / 10 ** digits).toFixed(digits);
  return Math.floor(units / minute) + ":" + rest.padStart(digits ? digits + 3 : 2, "0");
}

// ---- sound: the WAV that is played is also what the waveforms are drawn from ------------------

const wav = Uint8Array.from(atob(el("sound").textContent), (char) => char.charCodeAt(0));
const samples = (wav.length - WAV_HEADER_BYTES) / 2;
const audio = new Audio(URL.createObjectURL(new Blob([wav], { type: "audio/wav" })));

function linear(mulaw) {
  const code = ~mulaw & 255, size = ((((code & 15) << 3) + 132) << ((code >> 4) & 7)) - 132;
  return code & 128 ? -size : size;
}

function track(name, channel, colour) {
  const pcm = Int16Array.from({ length: samples }, (_, i) => linear(wav[WAV_HEADER_BYTES + 2 * i + channel]));
  const low = new Int16Array(Math.ceil(samples / BLOCK)), high = new Int16Array(low.length);
  pcm.forEach((value, i) => {
    const block = Math.floor(i / BLOCK);
    low[block] = Math.min(low[block], value);
    high[block] = Math.max(high[block], value);
  });
  const peak = high.reduce((most, value, i) => Math.max(most, value, -low[i]), 0);
  return { name, colour, pcm, low, high, peak };
}

function extremes({ pcm, low, high }, from, to) {
  const blocks = to - from > 4 * BLOCK;
  const [lows, highs, step] = blocks ? [low, high, BLOCK] : [pcm, pcm, 1];
  let least = 32767, most = -32768;
  for (let i = Math.floor(from / step); i <= Math.floor(to / step) && i < lows.length; i++) {
    least = Math.min(least, lows[i]);
    most = Math.max(most, highs[i]);
  }
  return [least, most];
}

// ---- layout: bands from top to bottom ----------------------------------------------------------

// Spans of one lane that overlap go on levels of their own.
function stacked(spans) {
  const ends = [];
  return spans.map(([start, end, label]) => ({ start, end, label })).sort((a, b) => a.start - b.start).map((span) => {
    const free = ends.findIndex((end) => end <= span.start + 0.001);
    const level = free < 0 ? ends.length : free;
    ends[level] = span.end;
    return { ...span, level };
  });
}

const bands = [];
let bottom = AXIS_H;
function addBand(height, more, gap = 0) {
  bands.push({ y: bottom, height, ...more });
  bottom += height + gap;
}
addBand(WAVE_H, { track: track("Caller", 0, COLOURS[0]) }, GAP);
addBand(WAVE_H, { track: track("Heard", 1, COLOURS[2]) }, GAP);
call.lanes.forEach((lane, i) => {
  const spans = stacked(lane.spans), levels = Math.max(1, ...spans.map((span) => span.level + 1));
  addBand(levels * SPAN_H + 6, { lane: lane.name, spans, colour: COLOURS[i % COLOURS.length] });
});
bottom += GAP;
for (const [name, kind] of Object.entries(KINDS)) {
  const moments = call.moments.filter((moment) => moment[1] === name).map(([at, , label]) => ({ at, label }));
  if (moments.length) addBand(MOMENT_H, { kind: { ...kind, name, path: new Path2D(kind.path) }, moments });
}
const plotEnd = bottom, stripY = bottom + GAP, height = stripY + STRIP_H + 2;

// ---- view: which seconds are on screen ---------------------------------------------------------

const view = { from: 0, span: call.seconds };
let width = 0, playhead = 0, pointer = null, drag = null, queued = false;
const plotWidth = () => Math.max(1, width - GUTTER - EDGE);
const xOf = (at) => GUTTER + ((at - view.from) / view.span) * plotWidth();
const timeAt = (x) => clamp(view.from + ((x - GUTTER) / plotWidth()) * view.span, 0, call.seconds);

function show(from, span) {
  view.span = clamp(span, SHORTEST_VIEW_S, call.seconds);
  view.from = clamp(from, 0, call.seconds - view.span);
  redraw();
}
function zoom(factor, around = view.from + view.span / 2) {
  const span = clamp(view.span * factor, SHORTEST_VIEW_S, call.seconds);
  show(around - ((around - view.from) / view.span) * span, span);
}
const scroll = (share) => show(view.from + share * view.span, view.span);

function place(at) {
  playhead = clamp(at, 0, call.seconds);
  audio.currentTime = Math.min(playhead, samples / RATE);
  redraw();
}

// ---- drawing -----------------------------------------------------------------------------------

function redraw() {
  if (!queued) requestAnimationFrame(draw);
  queued = true;
}

function draw() {
  queued = false;
  const ratio = window.devicePixelRatio || 1;
  width = stage.clientWidth;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = height + "px";
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.font = FONT;
  pen.textBaseline = "middle";
  drawAxis();
  bands.forEach(drawName);
  pen.save();
  pen.beginPath();
  pen.rect(GUTTER - 7, 0, plotWidth() + 14, plotEnd);
  pen.clip();
  for (const band of bands) (band.track ? drawWave : band.spans ? drawSpans : drawMoments)(band);
  pen.restore();
  drawStrip();
  drawNeedle(playhead, INK, []);
  if (pointer && pointer.x >= GUTTER && !drag) drawNeedle(timeAt(pointer.x), MUTED, [2, 3]);
  el("clock").textContent = time(playhead) + " / " + time(call.seconds);
}

function stroke(colour, points, dash = []) {
  pen.strokeStyle = colour;
  pen.lineWidth = 1;
  pen.setLineDash(dash);
  pen.beginPath();
  points.forEach(([x, y]) => pen.lineTo(x, y));
  pen.stroke();
  pen.setLineDash([]);
}

// Writes `text`, cut to `room` pixels; where not even a few letters fit, nothing.
function write(text, x, y, colour, room = Infinity) {
  let kept = Math.min(text.length, 200);
  const shown = () => (kept < text.length ? text.slice(0, kept) + "…" : text);
  while (kept && pen.measureText(shown()).width > room) kept -= 1;
  if (kept < Math.min(3, text.length)) return;
  pen.fillStyle = colour;
  pen.fillText(shown(), x, y);
}

function drawAxis() {
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
  const step = steps.find((s) => (s / view.span) * plotWidth() >= 74) || 1800;
  pen.textAlign = "center";
  for (let i = Math.ceil(view.from / step); i * step <= view.from + view.span + 1e-9; i++) {
    const x = Math.round(xOf(i * step)) + 0.5;
    stroke(GRID, [[x, AXIS_H - 6], [x, plotEnd]]);
    write(time(i * step, step < 0.1 ? 2 : step < 1 ? 1 : 0), x, 12, MUTED);
  }
  pen.textAlign = "left";
}

function drawName({ y, height, track, lane, kind, moments }) {
  stroke(LINE, [[0, y - 0.5], [width, y - 0.5]]);
  const middle = y + height / 2;
  if (track) {
    pen.font = "600 " + FONT;
    write(track.name, 0, middle - 9, track.colour);
    pen.font = FONT;
    write(track.peak ? "peak −" + Math.round(20 * Math.log10(32124 / track.peak)) + " dBFS" : "silent", 0, middle + 9, MUTED);
  } else if (kind) {
    drawShape(kind, 7, middle);
    write(kind.name, 22, middle, INK);
    pen.textAlign = "right";
    write(String(moments.length), GUTTER - 18, middle, MUTED);
    pen.textAlign = "left";
  } else {
    write(lane, 0, middle, INK, GUTTER - 18);
  }
}

function drawWave({ y, height, track }) {
  const middle = y + height / 2, scale = (height / 2 - 5) / Math.max(track.peak, 600);
  const perPixel = (view.span * RATE) / plotWidth();
  stroke(LINE, [[GUTTER, middle], [GUTTER + plotWidth(), middle]]);
  if (perPixel < 2) {
    const first = Math.floor(view.from * RATE), last = Math.min(samples - 1, first + view.span * RATE + 1);
    const points = [];
    for (let i = first; i <= last; i++) points.push([xOf(i / RATE), middle - track.pcm[i] * scale]);
    return stroke(track.colour, points);
  }
  pen.fillStyle = track.colour;
  for (let pixel = 0; pixel < plotWidth(); pixel++) {
    const from = view.from * RATE + pixel * perPixel;
    if (from >= samples) break;
    const [least, most] = extremes(track, from, from + perPixel);
    if (least || most) pen.fillRect(GUTTER + pixel, middle - most * scale - 0.5, 1, (most - least) * scale + 1);
  }
}

function drawSpans({ y, spans, colour }) {
  for (const { start, end, label, level } of spans) {
    const left = xOf(start), right = Math.max(xOf(end), left + 2), top = y + 3 + level * SPAN_H;
    if (right < GUTTER || left > width) continue;
    pen.fillStyle = colour;
    pen.globalAlpha = 0.13;
    pen.fillRect(left, top + 1, right - left, SPAN_H - 2);
    pen.globalAlpha = 1;
    pen.fillRect(left, top + 1, 2, SPAN_H - 2);
    const text = Math.max(left, GUTTER) + 8;
    write(label, text, top + SPAN_H / 2, INK, right - text - 4);
  }
}

function drawMoments({ y, height, kind, moments }) {
  for (const { at } of moments) {
    const x = xOf(at);
    if (kind.line) {
      pen.globalAlpha = 0.45;
      stroke(kind.colour, [[Math.round(x) + 0.5, y], [Math.round(x) + 0.5, AXIS_H]], kind.line);
      pen.globalAlpha = 1;
    }
    drawShape(kind, x, y + height / 2);
  }
}

function drawShape({ path, colour, fill }, x, y) {
  pen.save();
  pen.translate(x, y);
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = 1.6;
  if (fill) pen.fill(path);
  else pen.stroke(path);
  pen.restore();
}

function drawStrip() {
  const share = plotWidth() / call.seconds;
  pen.fillStyle = LINE;
  pen.fillRect(GUTTER, stripY, plotWidth(), STRIP_H);
  pen.fillStyle = "#aab4c0";
  pen.fillRect(GUTTER + view.from * share, stripY, Math.max(6, view.span * share), STRIP_H);
}

function drawNeedle(at, colour, dash) {
  const x = Math.round(xOf(at)) + 0.5;
  if (x < GUTTER - 1 || x > width - EDGE + 1) return;
  stroke(colour, [[x, AXIS_H - 8], [x, plotEnd]], dash);
  const label = time(at), room = pen.measureText(label).width + 12;
  const left = clamp(x - room / 2, 0, width - room);
  pen.fillStyle = colour;
  pen.fillRect(left, 2, room, 20);
  write(label, left + 6, 12, "#fff");
}

// ---- pointing ----------------------------------------------------------------------------------

const spanText = (name, { start, end, label }) =>
  `${name}: ${label}\n${time(start)} to ${time(end)}, ${(end - start).toFixed(3)} s`;

function textAt({ x, y }) {
  const band = bands.find((b) => y >= b.y && y < b.y + b.height);
  if (!band || band.track || x < GUTTER - 8) return "";
  if (band.spans) {
    const level = Math.floor((y - band.y - 3) / SPAN_H);
    const found = band.spans.filter((s) => s.level === level && x >= xOf(s.start) - 2 && x <= Math.max(xOf(s.end), xOf(s.start) + 2) + 2);
    return found.slice(0, 3).map((span) => spanText(band.lane, span)).join("\n");
  }
  const near = band.moments.map((m) => ({ ...m, off: Math.abs(xOf(m.at) - x) })).filter((m) => m.off <= 8);
  const lines = near.sort((a, b) => a.off - b.off).slice(0, 4).map((m) => `${time(m.at)}  ${band.kind.name}\n${m.label}`);
  return lines.concat(near.length > 4 ? [`and ${near.length - 4} more: zoom in`] : []).join("\n");
}

function point(event) {
  const box = canvas.getBoundingClientRect();
  pointer = { x: event.clientX - box.left, y: event.clientY - box.top };
  const text = drag ? "" : textAt(pointer);
  tip.hidden = !text;
  tip.textContent = text;
  if (text) {
    const right = pointer.x + 16 + tip.offsetWidth;
    tip.style.left = (right > width ? Math.max(0, pointer.x - 16 - tip.offsetWidth) : pointer.x + 16) + "px";
    tip.style.top = pointer.y + 18 + "px";
  }
  redraw();
}

function dragTo() {
  if (drag.strip) return show(((pointer.x - GUTTER) / plotWidth()) * call.seconds - view.span / 2, view.span);
  drag.moved = drag.moved || Math.abs(pointer.x - drag.x) > 4;
  if (drag.moved) show(drag.from - ((pointer.x - drag.x) / plotWidth()) * view.span, view.span);
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  point(event);
  drag = { x: pointer.x, from: view.from, strip: pointer.y >= stripY - 4, moved: false };
  canvas.setPointerCapture(event.pointerId);
  if (drag.strip) dragTo();
});
canvas.addEventListener("pointermove", (event) => {
  point(event);
  if (drag) dragTo();
});
canvas.addEventListener("pointerup", () => {
  if (drag && !drag.strip && !drag.moved && drag.x >= GUTTER) place(timeAt(drag.x));
  drag = null;
  redraw();
});
canvas.addEventListener("pointercancel", () => { drag = null; });
canvas.addEventListener("pointerleave", () => {
  pointer = null;
  tip.hidden = true;
  redraw();
});
canvas.addEventListener("wheel", (event) => {
  point(event);
  const unit = event.deltaMode ? 16 : 1, sideways = event.deltaX || (event.shiftKey ? event.deltaY : 0);
  if (event.ctrlKey || event.metaKey) zoom(Math.exp(clamp(event.deltaY * unit, -40, 40) * 0.01), timeAt(pointer.x));
  else if (Math.abs(sideways) >= Math.abs(event.deltaY) && sideways) scroll((sideways * unit) / plotWidth());
  else return;
  event.preventDefault();
}, { passive: false });

// ---- buttons, keys, playing --------------------------------------------------------------------

const play = el("play");
const acts = {
  back: () => scroll(-0.5), on: () => scroll(0.5), in: () => zoom(0.5), out: () => zoom(2), fit: () => show(0, call.seconds),
};
for (const [id, act] of Object.entries(acts)) el(id).addEventListener("click", act);
const KEYS = {
  "+": acts.in, "=": acts.in, "-": acts.out, "0": acts.fit, ArrowLeft: () => scroll(-0.2), ArrowRight: () => scroll(0.2),
  Home: () => show(0, view.span), End: () => show(call.seconds, view.span), " ": () => play.click(),
};
stage.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const button of document.querySelectorAll(".at")) {
  button.addEventListener("click", () => {
    const at = Number(button.dataset.at), span = Math.min(view.span, 6);
    place(at);
    show(at - span / 2, span);
    stage.scrollIntoView({ block: "nearest" });
  });
}

function follow() {
  if (audio.paused) return;
  const wasShown = playhead <= view.from + view.span;
  playhead = audio.currentTime;
  if (wasShown && playhead > view.from + view.span) show(playhead, view.span);
  redraw();
  requestAnimationFrame(follow);
}
function silent() {
  play.disabled = true;
  play.textContent = "No sound";
}
play.addEventListener("click", () => {
  if (!audio.paused) audio.pause();
  else audio.play().catch(() => {}); // A sound that cannot be played also raises the error event below.
});
audio.addEventListener("play", () => { play.textContent = "❚❚ Pause"; follow(); });
audio.addEventListener("pause", () => { play.textContent = "▶\uFE0E Play"; });
audio.addEventListener("error", silent);
if (!samples) silent();

new ResizeObserver(redraw).observe(stage);
draw();
