// Each worker: what it is, what it runs, what it has at hand, and its strip.

import { clone, element } from "./parts.js";
import { code, keyed, more, row } from "./rows.js";
import { draw, lastOf, shares } from "./strip.js";
import { adapters, clock, DOING, ENDS, gigabytes, KINDS, seconds, short, shownUse } from "./words.js";

const STATES = { warm: "good", loading: "warn", unloaded: "", draining: "warn", gone: "bad" };
const NAMED = 6;
const NOTHING = { states: [], runs: [], alive: true };

// `tell(name, "drain" | "resume")` tells a worker.
export function showWorkers(overview, tell) {
  const live = new Map(overview.queues.flatMap((queue) => queue.workers).map((one) => [one.name, one]));
  const strips = new Map(overview.timelines.map((view) => [view.worker, view]));
  const gone = overview.timelines.filter((view) => !live.has(view.worker));
  const shown = [...live.values()].slice(0, 50);
  const items = [
    ...shown.map((worker) => ({ worker, view: strips.get(worker.name) ?? NOTHING })),
    ...gone.map((view) => ({ worker: null, view })),
  ];
  for (const item of items) item.nowMs = overview.now_ms;
  const nameOf = (item) => item.worker?.name ?? item.view.worker;
  keyed(document.getElementById("workers"), items, nameOf, (item) => card(nameOf(item), tell));
  document.getElementById("no-workers").hidden = items.length > 0;
  more(document.getElementById("more-workers"), live.size - shown.length, "workers");
}

function card(name, tell) {
  const parts = clone("worker");
  parts.name.textContent = name;
  parts.region.setAttribute("aria-label", `What ${name} ran`);
  parts.caption.textContent = `What ${name} ran, the latest first`;
  let current = null;
  parts.drain.addEventListener("click", () => {
    tell(name, current.worker.state === "draining" ? "resume" : "drain");
  });
  const fill = (item) => {
    current = item;
    fillCard(parts, name, item);
  };
  parts.details.addEventListener("toggle", () => current && fill(current));
  return { root: parts.root, fill };
}

function fillCard(parts, name, { worker, view, nowMs }) {
  const state = worker?.state ?? (view.states.at(-1)?.state === "left" ? "left" : "gone");
  parts.root.classList.toggle("is-gone", !worker);
  parts.state.textContent = state;
  parts.state.className = `chip ${STATES[state] ?? ""}`;
  parts.drain.hidden = !worker;
  parts.drain.textContent = state === "draining" ? "Resume" : "Drain";
  parts.drain.setAttribute("aria-label", `${parts.drain.textContent} ${name}`);
  parts.now.replaceChildren(...now(worker, view, nowMs, state));
  draw(parts.strip, view, nowMs);
  parts.since.textContent = `${document.getElementById("span").selectedOptions[0].text} ago`;
  const share = shares(view, nowMs);
  parts.share.textContent = `generating ${Math.round(100 * share.generate)} % of the time`;
  parts.tiers.replaceChildren(...(worker ? tiers(worker) : []));
  if (parts.details.open) {
    const items = [...view.runs].reverse().map((run) => ({ run, nowMs }));
    keyed(parts.runs, items, (item) => `${item.run.job_id} ${item.run.since_ms}`, ranRow);
  }
}

// What it does in this moment, in a sentence.
function* now(worker, view, nowMs, state) {
  if (!worker) {
    const since = seconds((nowMs - lastOf(view)) / 1000);
    yield state === "left" ? `It left ${since} ago.` : `It died: nothing was heard of it for ${since}. Its jobs go back to the queue.`;
    return;
  }
  const running = view.runs.filter((run) => run.ended === null);
  if (!running.length) {
    yield worker.job_id ? `begins job ${short(worker.job_id)}` : idle(worker, view, nowMs);
    return;
  }
  for (const [n, run] of running.entries()) {
    const part = run.parts.at(-1);
    const since = run.since_ms + run.parts.slice(0, -1).reduce((sum, { ms }) => sum + ms, 0);
    if (n) yield ", and ";
    yield `${DOING[part.kind]} `;
    yield code(run.job_id);
    yield ` (${adapters(run.loras)}) for ${seconds((nowMs - since) / 1000)}`;
  }
}

function idle(worker, view, nowMs) {
  if (worker.state === "loading") return `loads ${worker.base}`;
  const since = lastOf(view);
  return since ? `idle for ${seconds((nowMs - since) / 1000)}` : "idle";
}

function* tiers(worker) {
  const base = [worker.base, worker.placement && `weights in ${worker.placement}`].filter(Boolean).join(", ");
  const loaded = ["unloaded", "loading"].includes(worker.state) ? worker.state : "loaded";
  yield* entry("base", `${base} (${loaded})`);
  if (worker.parked.length) yield* entry("parked", worker.parked.join(", "));
  if (worker.others.length) yield* entry("also serves", worker.others.join(", "));
  yield* entry("applied", worker.loaded.map(shownUse).join(", ") || "none");
  yield* entry("in memory", named(worker.memory, worker.in_memory));
  yield* entry("on disk", `${named(worker.disk, worker.cached)}${worker.cached ? ` (${gigabytes(worker.cached_bytes)})` : ""}`);
}

function* entry(term, text) {
  const pair = element("div");
  pair.append(element("dt", term), element("dd", text));
  yield pair;
}

function named(names, of) {
  if (!of) return "none";
  const shown = names.slice(0, NAMED).join(", ");
  const rest = of - Math.min(NAMED, names.length);
  return rest > 0 ? `${shown} and ${rest.toLocaleString("en")} more` : shown;
}

const ranRow = row(5, ({ run, nowMs }) => [
  clock(run.since_ms),
  short(run.job_id),
  adapters(run.loras),
  run.parts.map(({ kind, ms }) => `${KINDS[kind]} ${ms === null ? "…" : seconds(ms / 1000)}`).join(", "),
  run.ended === null ? "runs" : ENDS[run.ended],
]);
