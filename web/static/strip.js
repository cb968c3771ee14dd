// What a worker ran over the last minutes, as a picture and as a sentence.

import { adapters, count, ENDS, KINDS, seconds, short } from "./words.js";

// How far the strips go back.
let spanMs = 300_000;
const NS = "http://www.w3.org/2000/svg";
const LANES = { band: [0, 15], work: [17, 25], upload: [44, 10] };
// So that a swap of milliseconds is seen.
const THIN = 2;

export function look(back) {
  spanMs = back;
}

const minutes = () => (spanMs === 60_000 ? "minute" : `${spanMs / 60_000} minutes`);

// Draws `view`, a timeline of the API, into the SVG.
export function draw(svg, view, nowMs) {
  const width = Math.max(svg.clientWidth, 200);
  const x = (ms) => Math.max(0, width * (1 - (nowMs - ms) / spanMs));
  svg.setAttribute("viewBox", `0 0 ${width} 56`);
  const marks = [shape("rect", { class: "idle", x: 0, y: 17, width, height: 25, rx: 3 })];
  marks.push(...states(view, nowMs, x));
  for (const band of bands(view, nowMs)) marks.push(...label(band, x));
  for (const run of view.runs) marks.push(drawn(run, nowMs, x));
  svg.replaceChildren(...marks);
  svg.setAttribute("aria-label", sentence(view, nowMs));
}

function shape(name, attributes, text) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// The parts of a run with their times: [kind, since, until]
function* partsOf(run, nowMs) {
  let since = run.since_ms;
  for (const { kind, ms } of run.parts) {
    const until = ms === null ? nowMs : since + ms;
    yield [kind, since, until];
    since = until;
  }
}

function drawn(run, nowMs, x) {
  const group = shape("g", { class: run.ended === null ? "run live" : "run" });
  const lost = run.ended === "queued" || run.ended === "failed";
  for (const [kind, since, until] of partsOf(run, nowMs)) {
    if (until < nowMs - spanMs) continue;
    const [y, height] = kind === "upload" ? LANES.upload : LANES.work;
    const fill = kind === "adapters" ? "fetch" : kind;
    const low = fill === "fetch" ? height / 2 : 0;
    const wide = Math.max(THIN, x(until) - x(since) - 0.5);
    group.append(
      shape("rect", {
        class: fill, fill: `url(#of-${fill})`, rx: 1,
        x: x(since), y: y + low, width: wide, height: height - low,
      }),
    );
  }
  if (lost) group.append(cross(run, nowMs, x));
  group.append(shape("title", {}, told(run, nowMs)));
  return group;
}

// A run that came to nothing: struck out, with a cross at its end.
function cross(run, nowMs, x) {
  const until = [...partsOf(run, nowMs)].at(-1)[2];
  const made = shape("g", {});
  const from = x(run.since_ms);
  made.append(
    shape("rect", {
      class: "lost", fill: "url(#of-lost)", x: from, y: 17, width: Math.max(6, x(until) - from), height: 25,
    }),
    shape("text", { class: "cross", x: x(until) - 3, y: 34, "text-anchor": "end" }, "✕"),
  );
  return made;
}

// What the worker was, where it could not run jobs.
function* states(view, nowMs, x) {
  const spans = view.states.map((state, n) => [state, view.states[n + 1]?.since_ms ?? nowMs]);
  for (const [{ state, since_ms }, until] of spans) {
    if (state === "warm" || until < nowMs - spanMs || state === "left") continue;
    yield* region(state, since_ms, until, x, state);
  }
  if (!view.alive) yield* region("gone", lastOf(view), nowMs, x, "gone");
}

// When a worker that is gone was last heard of.
export function lastOf(view) {
  const ends = view.runs.flatMap((run) => (run.ended === null ? [run.since_ms] : [endOf(run)]));
  return Math.max(0, ...ends, ...view.states.map((state) => state.since_ms));
}

const endOf = (run) => run.since_ms + run.parts.reduce((sum, part) => sum + (part.ms ?? 0), 0);

function* region(className, since, until, x, text) {
  const [from, to] = [x(since), x(until)];
  const place = { x: from, y: 17, width: Math.max(0, to - from), height: 25, rx: 3 };
  const look = className === "gone" ? { class: "dead", fill: "url(#of-gone)" } : { class: `state ${className}` };
  yield shape("rect", { ...place, ...look });
  if (to - from > 8 * text.length) {
    yield shape("text", { class: "word", x: (from + to) / 2, y: 33, "text-anchor": "middle" }, text);
  }
}

// Runs after each other with the same adapters, as one band.
function bands(view, nowMs) {
  const found = [];
  for (const run of view.runs) {
    const name = adapters(run.loras);
    const until = run.ended === null ? nowMs : endOf(run);
    const last = found.at(-1);
    if (last && last.name === name) Object.assign(last, { until, runs: last.runs + 1 });
    else {
      if (last) last.until = Math.min(last.until, run.since_ms);
      found.push({ name, since: run.since_ms, until, runs: 1 });
    }
  }
  return found.filter((band) => band.until >= nowMs - spanMs);
}

function* label(band, x) {
  const [from, to] = [x(band.since), x(band.until)];
  const wide = Math.max(1, to - from - 1);
  yield shape("rect", { class: "band", x: from, y: 0, width: wide, height: 15, rx: 2 });
  const room = Math.floor((wide - 6) / 6.2);
  if (room < 3) return;
  const text = band.name.length > room ? `${band.name.slice(0, room - 1)}…` : band.name;
  yield shape("text", { class: "band-name", x: from + 4, y: 11.5 }, text);
}

// One attempt in words.
function told(run, nowMs) {
  const parts = [...partsOf(run, nowMs)].map(
    ([kind, since, until]) => `${KINDS[kind]} ${seconds((until - since) / 1000)}`,
  );
  const end = run.ended === null ? "runs" : ENDS[run.ended];
  return `job ${short(run.job_id)} · ${adapters(run.loras)} · ${parts.join(", ")} · ${end}`;
}

// Shares of the time, by what the GPU did.
export function shares(view, nowMs) {
  const begin = nowMs - spanMs;
  const sums = { generate: 0, swap: 0, fetch: 0, adapters: 0, base: 0 };
  for (const run of view.runs) {
    for (const [kind, since, until] of partsOf(run, nowMs)) {
      if (kind in sums) sums[kind] += Math.max(0, until - Math.max(since, begin));
    }
  }
  const first = Math.min(nowMs, ...view.states.map((s) => s.since_ms), ...view.runs.map((r) => r.since_ms));
  const known = Math.max(1, nowMs - Math.max(begin, first));
  return Object.fromEntries(Object.entries(sums).map(([kind, ms]) => [kind, Math.min(1, ms / known)]));
}

function sentence(view, nowMs) {
  const share = shares(view, nowMs);
  const percent = (part) => `${Math.round(100 * part)} %`;
  const ended = view.runs.filter((run) => run.ended === "succeeded").length;
  const lost = view.runs.filter((run) => run.ended === "queued" || run.ended === "failed").length;
  return [
    `Last ${minutes()}: ${percent(share.generate)} of the time it generated`,
    `${percent(share.swap + share.fetch + share.adapters)} it prepared adapters`,
    `${percent(share.base)} it loaded a base`,
    `${count(ended, "job")} succeeded, ${lost} came to nothing`,
    view.alive ? "" : "it is gone",
  ].filter(Boolean).join("; ");
}
