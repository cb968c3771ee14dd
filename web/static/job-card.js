// One job: what it asks for, how far it is, and what was made, as the API tells it.

import { hasEnded } from "./follower.js";
import { clone, element, plain } from "./parts.js";
import { nameOf, shownUse } from "./words.js";

const STATUS = {
  queued: ["waiting", "accent"],
  running: ["running", "accent"],
  succeeded: ["done", "good"],
  failed: ["failed", "bad"],
  canceled: ["canceled", "warn"],
  expired: ["expired", "warn"],
};
const STAGES = {
  loading_base: "Loading the base",
  loading_adapter: "Applying the adapters",
  denoising: "Painting",
  decoding: "Decoding",
  uploading: "Storing the picture",
};
const REASONS = {
  waiting: "other jobs are before it",
  no_worker: "no worker serves this base now",
  retry: "its worker was lost; it runs again soon",
};

// However the clocks differ, no more often than this.
const SOONEST_MS = 60_000;

export class JobCard {
  #made = null;
  #expiry = 0;

  // `act` gets what a button does and the job; `refresh` the job, once its URLs expire.
  constructor(job, act, refresh) {
    this.parts = clone("job-card");
    this.root = this.parts.root;
    this.root.dataset.job = job.id;
    this.act = act;
    this.refresh = refresh;
    for (const button of this.root.querySelectorAll("[data-do]")) {
      button.addEventListener("click", () => this.act(button.dataset.do, this.job, button));
    }
    this.update(job);
  }

  update(job) {
    this.job = job;
    const { parts } = this;
    const [status, tone] = STATUS[job.status] ?? [job.status, "accent"];
    parts.status.textContent = job.cancel_requested && !hasEnded(job) ? "stopping" : status;
    parts.status.className = `chip ${tone}`;
    parts.when.textContent = new Date(job.created_at).toLocaleTimeString([], {
      hour: "2-digit",
      minute: "2-digit",
    });
    parts.prompt.textContent = job.input.prompt || "(no prompt)";
    this.root.classList.toggle("ended", hasEnded(job));
    this.root.querySelector('[data-do="cancel"]').hidden = hasEnded(job);
    this.root.querySelector('[data-do="erase"]').hidden = !hasEnded(job);
    this.#progress(job);
    this.#adapters(job);
    this.#notices(job);
    this.#pictures(job);
    this.#parameters(job);
  }

  #progress(job) {
    const { stage, bar, place, waiting } = this.parts;
    waiting.hidden = hasEnded(job);
    if (waiting.hidden) return;
    // Of the picture's shape, so that nothing moves when it comes.
    waiting.style.aspectRatio = `${job.input.width} / ${job.input.height}`;
    const { step, steps } = job.progress;
    const painting = job.stage === "denoising" && steps > 0;
    if (job.status === "queued") {
      stage.textContent = job.queue ? `Position ${job.queue.position + 1}` : "Waiting";
      place.textContent = job.queue ? waitingFor(job.queue) : "";
    } else {
      const name = STAGES[job.stage] ?? job.stage ?? "Starting";
      stage.textContent = painting ? `${name}: step ${step} of ${steps}` : name;
      place.textContent = painting && job.left_s != null ? `${about(job.left_s)} left` : "";
    }
    if (painting) Object.assign(bar, { max: steps, value: step });
    else bar.removeAttribute("value");
  }

  // What the API says was applied; before the end, what is asked for.
  #adapters(job) {
    const applied = job.applied_loras;
    const ended = hasEnded(job);
    const asked = ended ? job.input.loras.filter((use) => !isAmong(use, applied)) : job.input.loras;
    const chips = ended ? applied.map((use) => chip(shownUse(use), "accent")) : [];
    const made = job.status === "succeeded";
    for (const use of asked) {
      chips.push(
        made ? chip(`${nameOf(use)}: not applied`, "warn") : chip(`${shownUse(use)}: asked for`),
      );
    }
    if (!chips.length && made) chips.push(chip("base alone"));
    this.parts.adapters.replaceChildren(...chips);
    this.parts.adapters.hidden = !chips.length;
  }

  #notices({ warnings, error }) {
    const shown = warnings.map(({ detail }) => element("p", detail, "notice warn"));
    if (error) shown.unshift(element("p", `${error.title}: ${error.detail}`, "notice bad"));
    this.parts.notices.replaceChildren(...shown);
  }

  #pictures(job) {
    const made = job.outputs.map((output) => output.url).join(" ");
    if (this.#made === made) return;
    this.#made = made;
    this.#renew(job);
    const { pictures } = this.parts;
    pictures.classList.toggle("many", job.outputs.length > 1);
    pictures.replaceChildren(...job.outputs.map((output) => this.#picture(output, job)));
    const [only] = job.outputs;
    const { download } = this.parts;
    download.hidden = job.outputs.length !== 1 || !only.url;
    if (!download.hidden) offer(download, only, job);
  }

  // A page may be open for longer than the links on it lead anywhere.
  #renew(job) {
    clearTimeout(this.#expiry);
    const expires = job.outputs.find((output) => output.url)?.url_expires_at;
    if (!expires) return;
    const left = Math.max(SOONEST_MS, Date.parse(expires) - Date.now());
    this.#expiry = setTimeout(() => this.refresh(this.job), left);
  }

  #picture(output, job) {
    if (!output.url) return element("p", "Withheld: the checker flagged this picture.", "notice warn");
    const { root, open, image, download } = clone("picture");
    const number = job.outputs.length > 1 ? ` ${output.index + 1}` : "";
    open.href = output.url;
    offer(download, output, job);
    download.setAttribute("aria-label", `Download picture${number}`);
    download.closest("figcaption").hidden = !number;
    image.alt = `Picture${number} of: ${job.input.prompt}`;
    image.width = output.width;
    image.height = output.height;
    image.src = output.url;
    return root;
  }

  #parameters(job) {
    const { input } = job;
    const rows = {
      base: input.model,
      prompt: input.prompt,
      "negative prompt": input.negative_prompt,
      size: `${input.width} × ${input.height}`,
      steps: input.num_inference_steps,
      guidance: input.guidance_scale,
      seed: input.seed,
      pictures: input.num_images,
      scheduler: input.scheduler ?? "the base's own",
      "start picture": input.image && `${input.image.reference}, strength ${input.strength}`,
      attempts: job.attempts,
      job: job.id,
    };
    for (const use of job.applied_loras) rows[`applied: ${use.id}`] = appliedAs(use);
    for (const [key, value] of Object.entries(input.metadata)) rows[`metadata: ${key}`] = value;
    for (const [key, value] of Object.entries(job.metrics)) {
      if (key.endsWith("_s") && value !== null) rows[key.slice(0, -2)] = `${value.toFixed(2)} s`;
    }
    const cells = Object.entries(rows)
      .filter(([, value]) => value !== null && value !== "")
      .flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]);
    this.parts.parameters.replaceChildren(...cells);
  }
}

function waitingFor({ eta_s, reason }) {
  const why = REASONS[reason] ?? reason;
  return eta_s === null ? why : `starts in ${about(eta_s)}; ${why}`;
}

function about(seconds) {
  if (seconds < 1) return "a moment";
  if (seconds < 90) return `about ${Math.round(seconds)} s`;
  return `about ${Math.round(seconds / 60)} min`;
}

function offer(link, output, job) {
  link.href = output.url;
  link.download = `${job.id}-${output.index}.${job.input.output.format}`;
}

const chip = (text, tone = "") => element("li", text, `chip ${tone}`);

const isAmong = (use, applied) => applied.some((one) => one.id === nameOf(use));

function appliedAs({ scale, rank, modules, effective_scale, sha256, alpha_assumed, tokens }) {
  return [
    `scale ${plain(scale)}`,
    rank !== null && `rank ${rank}`,
    modules !== null && `${modules} weights`,
    effective_scale !== null && `effective scale ${plain(effective_scale)}`,
    alpha_assumed && "alpha assumed",
    tokens.length && `tokens ${tokens.join(" ")}`,
    `SHA-256 ${sha256}`,
  ]
    .filter(Boolean)
    .join(", ");
}
