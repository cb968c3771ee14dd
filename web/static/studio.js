// The studio: puts its parts together.

import { Catalog } from "./catalog.js";
import { Gallery } from "./gallery.js";
import { fetchJson, Problem } from "./key.js";
import { element } from "./parts.js";
import { newSeed, Recipe } from "./recipe.js";
import { Registration } from "./registration.js";
import { bodyOf, curl, python } from "./snippet.js";

const at = (id) => document.getElementById(id);
const form = at("recipe");
const catalog = new Catalog();
const recipe = new Recipe(form, catalog);
const gallery = new Gallery(at("gallery"), act, (job) => {
  const prompt = job.input.prompt;
  say(job.status === "succeeded" ? `The picture is ready: ${prompt}` : `${job.status}: ${prompt}`);
});
const registration = new Registration(at("registration"), catalog, async (lora) => {
  await catalog.load();
  recipe.render();
  recipe.bases.pick(lora.base);
  recipe.adapters.pick(lora.id);
  say(`The adapter ${lora.id} was added.`);
});

const ACTIONS = {
  cancel: async (job) =>
    gallery.update(await post(`/v1/jobs/${encodeURIComponent(job.id)}/cancel`)),
  again: async (job) => submit(bodyOf(job.input)),
  vary: async (job) => submit({ ...bodyOf(job.input), seed: newSeed() }),
  curl: async (job, button) => copy(curl(bodyOf(job.input)), button),
  python: async (job, button) => copy(python(bodyOf(job.input)), button),
  edit: async (job) => recipe.use(job.input),
  erase: async (job) => {
    await fetchJson(`/v1/jobs/${encodeURIComponent(job.id)}`, { method: "DELETE" });
    gallery.forget(job.id);
    show();
  },
};

async function act(action, job, button) {
  recipe.clearFaults();
  try {
    await ACTIONS[action](job, button);
  } catch (error) {
    recipe.showFaults(error);
    say(error.message);
  }
}

const post = (path, json) => fetchJson(path, { method: "POST", json });

async function submit(body, sheet) {
  const job = await post("/v1/jobs", body);
  gallery.add(job, sheet);
  show();
  return job;
}

async function make(many) {
  recipe.clearFaults();
  const buttons = [at("generate"), at("compare")];
  for (const button of buttons) button.disabled = true;
  try {
    await many();
    // On a phone the pictures are below the form.
    const first = gallery.place.firstElementChild;
    if (first.getBoundingClientRect().top > innerHeight) first.scrollIntoView();
  } catch (error) {
    recipe.showFaults(error);
  } finally {
    for (const button of buttons) button.disabled = false;
  }
}

async function compare() {
  const { loras, ...body } = recipe.body;
  body.seed ??= newSeed();
  const scales = new Map(loras?.map(({ id, scale }) => [id, scale]));
  const sheet = `${Date.now()}-${body.seed}`;
  await submit(body, sheet);
  const { seen } = recipe.adapters;
  for (const { id, scale } of seen) {
    await submit({ ...body, loras: [{ id, scale: scales.get(id) ?? scale }] }, sheet);
  }
  say(`${seen.length + 1} jobs were submitted.`);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    const label = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = label), 1500);
    say("Copied.");
  } catch {
    // A page that came over plain HTTP may not write there.
    at("snippet-text").textContent = text;
    at("snippet").showModal();
    getSelection().selectAllChildren(at("snippet-text"));
  }
}

function say(text) {
  at("status").textContent = text;
}

function show() {
  at("no-pictures").hidden = !gallery.isEmpty;
  at("older").hidden = !gallery.hasOlder;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  make(async () => {
    await submit(recipe.body);
    say("The job was submitted.");
  });
});
form.elements.namedItem("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
at("compare").addEventListener("click", () => make(compare));
at("add-adapter").addEventListener("click", () => registration.open(recipe.bases.model));
at("older").addEventListener("click", async () => {
  await gallery.older();
  show();
});

try {
  await catalog.load();
  recipe.render();
  await gallery.older();
} catch (error) {
  if (!(error instanceof Problem)) throw error;
  at("bases").replaceChildren(element("p", error.message, "notice bad"));
}
show();
