// What was used, by key, adapter or base.

import { fetchJson } from "./key.js";
import { keyed, more, row } from "./rows.js";
import { seconds } from "./words.js";

const SHOWN = 50;
const at = (id) => document.getElementById(id);

// `names` are those of keys by their ids.
export async function showUsage(names) {
  const [by, days] = [at("usage-by").value, at("usage-days").value];
  const since = days && new Date(Date.now() - (days - 1) * 86_400_000).toISOString().slice(0, 10);
  const report = await fetchJson(`/v1/usage?by=${by}${since && `&since=${since}`}`);
  const used = report.usage.sort((a, b) => b.gpu_s - a.gpu_s);
  const titled = used.slice(0, SHOWN).map((one) => ({ ...one, name: titleOf(by, one[by], names) }));
  keyed(at("usage"), titled, (one) => `${by} ${one[by]}`, usedRow);
  at("no-usage").hidden = used.length > 0;
  at("usage").closest(".scroll").hidden = !used.length;
  more(at("more-usage"), used.length - SHOWN, "");
}

const titleOf = (by, name, names) =>
  by !== "key" ? name : name ? (names[name] ? `${names[name]} (${name})` : name) : "without a key";

const usedRow = row(
  4,
  (one) => [one.name, one.jobs.toLocaleString("en"), one.pictures.toLocaleString("en"), seconds(one.gpu_s)],
  null,
  [1, 2, 3],
);
