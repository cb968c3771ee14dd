// How figures and names read, in tables and in what screen readers say.

import { plain } from "./parts.js";

export const short = (id) => id.slice(0, 8);

// 0.012 is "12 ms", 75 is "1 min 15 s".
export function seconds(s) {
  if (s === null || s === undefined) return "–";
  if (s < 0.0995) return `${Math.round(s * 1000)} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
}

export const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(1)} GB`;

export const count = (n, one, several = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : several}`;

// An adapter by what it was asked for.
export const nameOf = (lora) => lora.id ?? lora.path;
export const shownUse = (lora) => `${nameOf(lora)} × ${plain(lora.scale)}`;

export const adapters = (loras) => loras.map(shownUse).join(", ") || "the base alone";

export const clock = (moment) => new Date(moment).toLocaleTimeString("en-GB");

// "3 min 2 s ago" of an RFC 3339 moment, by the store's clock.
export function ago(moment, nowMs) {
  return moment ? `${seconds(Math.max(0, nowMs - Date.parse(moment)) / 1000)} ago` : "–";
}

export function within(moment, nowMs) {
  return moment ? `in ${seconds(Math.max(0, Date.parse(moment) - nowMs) / 1000)}` : "–";
}

// Why a job waits; `why` is the API's word for it.
export function reason(job, workers) {
  const busy = count(workers.length, "worker");
  switch (job.why) {
    case "no_worker":
      return "no worker serves its base";
    case "draining":
      return "every worker of its base was told to take no jobs";
    case "loading":
      return "the workers of its base still load it";
    case "fetching":
      return "an adapter is on its way; others are served meanwhile";
    case "other_base":
      return "its workers have another base loaded, and change when that pays";
    case "next":
      return "a worker is free: it starts now";
    case "swapless":
      return "a busy worker has its adapters applied, and takes it with them";
    default:
      return job.position
        ? `${count(job.position, "job")} before it, ${busy} at work`
        : `it is next; ${busy} at work`;
  }
}

export const TIERS = {
  applied: "applied now",
  memory: "in a worker's memory",
  disk: "on a worker's disk",
  remote: "not here yet",
};

export const KINDS = {
  base: "load a base",
  adapters: "adapters",
  fetch: "fetch",
  swap: "swap",
  generate: "generate",
  upload: "upload",
};

export const DOING = {
  base: "loads the base for",
  adapters: "prepares the adapters of",
  fetch: "fetches the adapters of",
  swap: "applies the adapters of",
  generate: "generates",
  upload: "uploads",
};

export const ENDS = {
  succeeded: "succeeded",
  failed: "failed",
  canceled: "canceled",
  queued: "put back",
};
