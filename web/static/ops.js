// The operations page: looks every two seconds, and does what its buttons say.

import { showDelayed, showFailures, showWebhooks } from "./history.js";
import { fetchJson, Problem } from "./key.js";
import { element } from "./parts.js";
import { keyName, showQueues } from "./queues.js";
import * as strip from "./strip.js";
import { showUsage } from "./usage.js";
import { adapters, clock, count, short } from "./words.js";
import { showWorkers } from "./workers.js";

const EVERY_MS = 2000;
const USAGE_MS = 30_000;
const SLOWEST_MS = 30_000;

const at = (id) => document.getElementById(id);
// Failed jobs that were submitted again from here: old id to new.
const again = new Map();
let overview = null;
let paused = false;
let failures = 0;
let usedAt = 0;
let timer = 0;

async function look() {
  clearTimeout(timer);
  try {
    overview = await fetchJson("/v1/admin/overview");
    show();
    failures = 0;
    trouble("");
    if (Date.now() - usedAt > USAGE_MS) await used();
  } catch (error) {
    failures += 1;
    pulse("not up to date", "bad");
    trouble(error instanceof Problem ? error.message : "The API does not answer.");
    // Another key helps here, and no other look with this one.
    if (error instanceof Problem && [401, 403].includes(error.status)) return;
  }
  if (!paused && !document.hidden) {
    timer = setTimeout(look, Math.min(SLOWEST_MS, EVERY_MS * 2 ** failures));
  }
}

async function used() {
  usedAt = Date.now();
  await showUsage(overview.keys);
}

function show() {
  pulse(`${paused ? "paused at" : "live,"} ${clock(overview.now_ms)}`, paused ? "warn" : "good");
  alarms();
  sums();
  showWorkers(overview, tell);
  showQueues(overview, { purge, cancel });
  showDelayed(overview, cancel);
  showFailures(overview, requeue, again);
  showWebhooks(overview, redeliver);
}

function pulse(text, kind) {
  at("pulse").textContent = text;
  at("pulse").className = `chip ${kind}`;
}

function trouble(text) {
  at("trouble").hidden = !text;
  at("trouble").textContent = text;
}

function say(text, kind = "") {
  at("said").hidden = false;
  at("said").className = `notice ${kind}`;
  at("said").textContent = text;
}

function alarms() {
  const found = overview.queues
    .filter((queue) => queue.no_worker)
    .map((queue) => `${queue.model}: ${count(queue.waiting, "job")} wait, and no live worker takes them.`);
  if (overview.webhooks.overdue) found.push(`${count(overview.webhooks.overdue, "webhook")} overdue: is there a courier?`);
  for (const view of overview.timelines) {
    if (!view.alive && view.states.at(-1)?.state !== "left") found.push(`The worker ${view.worker} died.`);
  }
  const texts = [...at("alarms").children].map((child) => child.textContent);
  if (texts.join("\n") === found.join("\n")) return;
  at("alarms").replaceChildren(...found.map((text) => element("p", text, "notice bad")));
}

function sums() {
  const sum = (name) => overview.queues.reduce((total, queue) => total + queue[name], 0);
  const rows = [
    ["Waiting", sum("waiting")],
    ["Running", sum("running")],
    ["Held back", overview.delayed],
    ["Workers", overview.workers],
    ["Webhooks to settle", overview.webhooks.unsettled],
  ];
  at("sums").replaceChildren(
    ...rows.map(([term, value]) => {
      const pair = element("div");
      pair.append(element("dt", term), element("dd", value.toLocaleString("en")));
      return pair;
    }),
  );
}

// Does something, says what came of it, and looks again.
async function act(doing, done) {
  try {
    say(done(await doing()), "");
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    say(error.message, "bad");
  }
  await look();
}

const post = (path) => fetchJson(path, { method: "POST" });

function tell(worker, verb) {
  const path = `/v1/admin/workers/${encodeURIComponent(worker)}/${verb}`;
  act(() => post(path), () => `${worker} ${verb === "drain" ? "takes no more jobs" : "takes jobs again"}.`);
}

function cancel(job) {
  act(() => post(`/v1/jobs/${job.id}/cancel`), (now) => `Job ${short(job.id)} is ${now.status}.`);
}

function redeliver(one) {
  const path = `/v1/jobs/${one.job_id}/deliveries/${encodeURIComponent(one.id)}/redeliver`;
  act(() => post(path), () => `${one.event} of job ${short(one.job_id)} is sent again.`);
}

function requeue(ids) {
  const all = async () => {
    for (const id of ids) again.set(id, (await post(`/v1/admin/jobs/${id}/requeue`)).id);
  };
  act(all, () => `${count(ids.length, "job")} submitted again.`);
}

// Names what is lost before anything is.
function purge(queue) {
  const owners = new Set(queue.jobs.map((job) => keyName(job.owner, overview.keys)));
  const held = overview.delayed_jobs.filter((job) => job.model === queue.model).length;
  const lost = queue.groups.map((group) => `${count(group.waiting, "job")} with ${adapters(group.loras)}`);
  const rest = queue.waiting - queue.groups.reduce((sum, group) => sum + group.waiting, 0);
  if (rest > 0) lost.push(`${count(rest, "job")} with other adapters`);
  if (held) lost.push(`${count(held, "job")} held back until the next attempt`);
  lost.push(`the next are of: ${[...owners].join(", ")}`);
  at("confirm-title").textContent = `Cancel all that waits for ${queue.model}?`;
  at("confirm-text").textContent =
    `${count(queue.waiting, "waiting job")} will be canceled for good, each with its webhook. What runs goes on.`;
  at("confirm-lost").replaceChildren(...lost.map((text) => element("li", text)));
  at("confirm-yes").textContent = `Cancel ${count(queue.waiting + held, "job")}`;
  const dialog = at("confirm");
  dialog.returnValue = "";
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return;
    const path = `/v1/admin/queues/${encodeURIComponent(queue.model)}/purge`;
    act(() => post(path), ({ canceled }) => `${count(canceled, "job")} of ${queue.model} canceled.`);
  };
  dialog.showModal();
}

at("pause").addEventListener("click", () => {
  paused = !paused;
  at("pause").setAttribute("aria-pressed", String(paused));
  if (overview) show();
  if (!paused) look();
});
for (const name of ["usage-by", "usage-days"]) at(name).addEventListener("change", () => overview && used());
at("span").addEventListener("change", () => {
  strip.look(Number(at("span").value));
  if (overview) showWorkers(overview, tell);
});
document.addEventListener("visibilitychange", () => !document.hidden && !paused && look());
addEventListener("resize", () => overview && showWorkers(overview, tell));
look();
