// Each base's queue: what waits, by its adapters, and job by job with the reason of its place.

import { clone, element } from "./parts.js";
import { button, code, keyed, more, row } from "./rows.js";
import { adapters, count, reason, seconds, short, shownUse, TIERS } from "./words.js";

const TIER_CHIPS = { applied: "good", memory: "good", disk: "accent", remote: "warn" };

// `purge(queue)` and `cancel(job)` do what they say.
export function showQueues(overview, { purge, cancel }) {
  const parent = document.getElementById("queues");
  const held = new Set(overview.delayed_jobs.map((job) => job.model));
  const items = overview.queues.map((queue) => ({
    queue, keys: overview.keys, canPurge: queue.waiting > 0 || held.has(queue.model),
  }));
  keyed(parent, items, (item) => item.queue.model, () => card(purge, cancel));
}

// The name of an API key.
export const keyName = (owner, keys) => (owner ? (keys[owner] ?? owner) : "–");

function card(purge, cancel) {
  const parts = clone("queue");
  let current = null;
  parts.purge.addEventListener("click", () => purge(current));
  const line = row(8, jobCells, (job) => [
    button("Cancel", () => `Cancel job ${short(job().job.id)}`, () => cancel(job().job)),
  ], [0, 5, 6]);
  const fill = ({ queue, keys, canPurge }) => {
    current = queue;
    fillCard(parts, queue);
    parts.purge.disabled = !canPurge;
    const jobs = queue.jobs.map((job) => ({ job, keys, workers: queue.workers }));
    keyed(parts.jobs, jobs, (item) => item.job.id, line);
  };
  return { root: parts.root, fill };
}

function fillCard(parts, queue) {
  const { model, waiting, running, tickets } = queue;
  parts.name.textContent = model;
  parts.purge.setAttribute("aria-label", `Purge the queue of ${model}`);
  const facts = [
    [`${waiting.toLocaleString("en")} waiting`, waiting ? "accent" : ""],
    [`${running.toLocaleString("en")} running`, running ? "good" : ""],
    [`oldest ${seconds(queue.oldest_s)}`, ""],
    [`${queue.submitted_per_min} in, ${queue.ended_per_min} out a minute`, ""],
    [tickets === null ? "configured no more" : count(tickets, "ticket"), ""],
  ];
  parts.facts.replaceChildren(...facts.map(([text, kind]) => element("li", text, `chip ${kind}`)));
  parts.unserved.hidden = !queue.no_worker;
  parts.unserved.textContent = `${count(waiting, "job")} wait, and no live worker takes jobs of this base.`;
  const groups = queue.groups.map((group) => ({ group, waiting }));
  const nameOf = ({ group }) => group.loras.map((lora) => `${lora.id}@${lora.scale}`).join(",");
  keyed(parts.groups, groups, nameOf, groupRow);
  parts["groups-region"].hidden = groups.length < 2;
  parts["groups-region"].setAttribute("aria-label", `Groups of ${model}`);
  parts["jobs-region"].hidden = !queue.jobs.length;
  parts["jobs-region"].setAttribute("aria-label", `Waiting jobs of ${model}`);
  more(parts.more, waiting - queue.jobs.length, "wait");
}

const groupRow = row(4, ({ group, waiting }) => [
  adapters(group.loras),
  group.waiting.toLocaleString("en"),
  bar(group.waiting / Math.max(1, waiting)),
  seconds(group.oldest_s),
], null, [1, 3]);

function bar(share) {
  const made = element("meter");
  made.max = 1;
  made.value = share;
  made.setAttribute("aria-label", `${Math.round(100 * share)} % of what waits`);
  return made;
}

const jobCells = ({ job, keys, workers }) => [
  job.position,
  reason(job, workers),
  wanted(job.loras),
  identity(job),
  keyName(job.owner, keys),
  seconds(job.waited_s),
  job.eta_s === null ? "nobody knows" : job.eta_s === 0 ? "now" : `≈ ${seconds(job.eta_s)}`,
];

function wanted(loras) {
  if (!loras.length) return "the base alone";
  const list = element("ul", "", "chips");
  for (const lora of loras) {
    const chip = element("li", shownUse(lora), `chip ${TIER_CHIPS[lora.tier] ?? ""}`);
    if (lora.tier) chip.append(element("small", ` ${TIERS[lora.tier]}`));
    list.append(chip);
  }
  return list;
}

const identity = (job) =>
  code(job.id, short(job.id) + (job.priority === "normal" ? "" : ` (${job.priority})`));
