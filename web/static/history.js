// What went wrong lately: failed jobs, jobs held back, webhooks.

import { element } from "./parts.js";
import { keyName } from "./queues.js";
import { button, code, keyed, more, row } from "./rows.js";
import { adapters, ago, count, seconds, short, within } from "./words.js";

const at = (id) => document.getElementById(id);

const retry = (requeue) => (item) => [
  button("Submit again", () => `Submit job ${short(item().id)} again`, () => requeue([item().id])),
];

// `requeue(ids)` submits jobs again; `again` maps those that were to their new ids.
export function showFailures(overview, requeue, again) {
  const items = overview.failures.map((job) => ({ ...job, overview, again: again.get(job.id) }));
  const make = (item) => {
    const made = row(7, failureCells, retry(requeue), [5])(item);
    const press = made.root.querySelector("button");
    return { root: made.root, fill: (one) => { made.fill(one); marked(press, one.again); } };
  };
  keyed(at("failures"), items, (item) => item.id, make);
  at("no-failures").hidden = items.length > 0;
  const left = items.filter((item) => !item.again);
  at("requeue-all").hidden = left.length < 2;
  at("requeue-all").textContent = `Submit all ${left.length} again`;
  at("requeue-all").onclick = () => requeue(left.map((item) => item.id));
}

function marked(press, again) {
  press.disabled = Boolean(again);
  if (again) press.textContent = `again as ${short(again)}`;
}

const failureCells = (job) => {
  const why = element("span");
  why.append(element("strong", job.code), ` ${job.detail}`);
  if (job.worker) why.append(element("small", ` on ${job.worker}`, "soft"));
  const { keys, now_ms } = job.overview;
  return [
    ago(job.completed_at, now_ms), code(job.id), why, `${job.model}: ${adapters(job.loras)}`,
    keyName(job.owner, keys), job.attempts,
  ];
};

// `cancel(job)` cancels one.
export function showDelayed(overview, cancel) {
  const items = overview.delayed_jobs.map((job) => ({ ...job, keys: overview.keys }));
  at("delayed-section").hidden = !items.length;
  const make = row(
    6,
    (job) => [code(job.id), job.model, keyName(job.owner, job.keys), job.attempts, seconds(job.ready_s)],
    (item) => [button("Cancel", () => `Cancel job ${short(item().id)}`, () => cancel(item()))],
    [3, 4],
  );
  keyed(at("delayed"), items, (item) => item.id, make);
  more(at("more-delayed"), overview.delayed - items.length, "are held back");
}

// `redeliver(delivery)` sends one again.
export function showWebhooks(overview, redeliver) {
  const { unsettled, due, overdue, retried, undelivered } = overview.webhooks;
  at("backlog").replaceChildren(
    `${count(unsettled, "webhook")} not settled, ${due.toLocaleString("en")} to be sent now`,
    overdue ? element("strong", `, ${overdue.toLocaleString("en")} overdue: is there a courier?`) : "",
  );
  const now = overview.now_ms;
  const act = (item) => [
    button("Send again", () => `Send ${item().event} of job ${short(item().job_id)} again`, () => redeliver(item())),
  ];
  const cells = (when) => (one) => [when(one), code(one.job_id), one.event, one.url, one.result, one.tries];
  const given = row(7, cells((one) => ago(one.tried_at, one.now)), act, [5]);
  const again = row(7, cells((one) => within(one.next_try_at, one.now)), act, [5]);
  for (const [name, list, make] of [["undelivered", undelivered, given], ["retried", retried, again]]) {
    keyed(at(name), list.map((one) => ({ ...one, now })), (one) => one.id, make);
    at(`no-${name}`).hidden = list.length > 0;
    at(name).closest(".scroll").hidden = !list.length;
  }
}
