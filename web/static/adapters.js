// The adapters of a base as tiles, and those chosen of them with their scales.

import { clone, element, plain } from "./parts.js";

// How many tiles are shown at first, and by each press of the button.
const PAGE = 24;
const USUAL = [0.5, 1.5];

export class Adapters {
  #loras = [];
  #shown = PAGE;
  // by id, in the order of the choice: {lora, scale, row}
  #uses = new Map();

  constructor(form, catalog) {
    this.catalog = catalog;
    this.prompt = form.elements.namedItem("prompt");
    this.tiles = form.querySelector("#adapters");
    this.chosen = form.querySelector("#chosen");
    this.most = Number(this.chosen.dataset.most);
    this.search = form.querySelector("#search");
    this.needle = form.querySelector("#needle");
    this.more = form.querySelector("#more-adapters");
    this.needle.addEventListener("input", () => this.#render());
    this.needle.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
    this.more.addEventListener("click", () => {
      this.#shown += PAGE;
      this.#render();
    });
  }

  // The adapters of this base; those that were chosen and do not fit it are let go.
  show(model) {
    this.#loras = this.catalog.fitting(model);
    const ids = new Set(this.#loras.map((lora) => lora.id));
    for (const id of this.#uses.keys()) if (!ids.has(id)) this.drop(id);
    this.search.hidden = this.#loras.length <= 8;
    this.#render();
  }

  // Those whose tiles are there to be seen.
  get seen() {
    return this.#found.slice(0, this.#shown);
  }

  get body() {
    return [...this.#uses.values()].map(({ lora, exact }) => ({
      id: lora.id,
      // What is no number is left for the API to refuse.
      ...(exact.value !== "" && { scale: exact.valueAsNumber }),
    }));
  }

  pick(id, scale) {
    const lora = this.#loras.find((known) => known.id === id);
    if (!lora || this.#uses.has(id) || this.#uses.size >= this.most) return;
    this.#uses.set(id, this.#use(lora, scale ?? lora.scale));
    this.#mark();
  }

  drop(id) {
    this.#uses.get(id)?.row.remove();
    this.#uses.delete(id);
    this.#mark();
  }

  clear() {
    for (const id of [...this.#uses.keys()]) this.drop(id);
  }

  // Where an error of `/loras/0/…` belongs.
  errorAt(pointer) {
    const [, index] = pointer.match(/^\/loras\/(\d+)/) ?? [];
    const use = index && [...this.#uses.values()][Number(index)];
    return use && use.row.querySelector(".error");
  }

  get #found() {
    const needle = this.needle.value.trim().toLowerCase();
    return this.#loras.filter((lora) =>
      [lora.id, ...lora.trigger_words].some((word) => word.toLowerCase().includes(needle)),
    );
  }

  #render() {
    const found = this.#found;
    this.tiles.replaceChildren(...this.seen.map((lora) => this.#tile(lora)));
    if (!found.length) {
      const why = this.#loras.length ? "No adapter is called that." : "No adapter fits this base yet.";
      this.tiles.append(element("li", why, "hint"));
    }
    this.more.hidden = found.length <= this.#shown;
    this.#mark();
  }

  #tile(lora) {
    const tile = clone("adapter-tile");
    tile.name.textContent = lora.id;
    tile.about.textContent = [lora.trigger_words.join(", "), lora.license].filter(Boolean).join(" · ");
    tile.pick.value = lora.id;
    tile.pick.addEventListener("change", () =>
      tile.pick.checked ? this.pick(lora.id) : this.drop(lora.id),
    );
    this.catalog.illustrate(tile.thumb, "lora", lora);
    return tile.root;
  }

  #use(lora, scale) {
    const use = clone("chosen-adapter");
    use.name.textContent = lora.id;
    use.scale.setAttribute("aria-label", `Scale of ${lora.id}`);
    use.exact.setAttribute("aria-label", `Scale of ${lora.id} as a number`);
    use.drop.setAttribute("aria-label", `Remove ${lora.id}`);
    use.error.id = `use-${lora.id}-error`;
    use.exact.setAttribute("aria-describedby", use.error.id);
    use.scale.value = use.exact.value = plain(scale);
    const tell = () => {
      const value = use.exact.valueAsNumber;
      use.root.classList.toggle("unusual", !(value >= USUAL[0] && value <= USUAL[1]));
    };
    use.scale.addEventListener("input", () => {
      use.exact.value = use.scale.value;
      tell();
    });
    use.exact.addEventListener("input", () => {
      if (use.exact.value !== "") use.scale.value = use.exact.value;
      tell();
    });
    use.drop.addEventListener("click", () => {
      this.drop(lora.id);
      this.tiles.querySelector(`input[value="${CSS.escape(lora.id)}"]`)?.focus();
    });
    for (const word of lora.trigger_words) use.words.append(this.#word(word));
    tell();
    this.chosen.append(use.root);
    return { lora, exact: use.exact, row: use.root };
  }

  #word(word) {
    const button = element("button", `+ ${word}`, "chip accent");
    button.type = "button";
    button.title = "Add this trigger word to the prompt";
    button.addEventListener("click", () => {
      const text = this.prompt.value.trim();
      this.prompt.value = text ? `${text}, ${word}` : word;
      this.prompt.focus();
    });
    return button;
  }

  #mark() {
    for (const input of this.tiles.querySelectorAll("input")) {
      input.checked = this.#uses.has(input.value);
      input.disabled = !input.checked && this.#uses.size >= this.most;
    }
  }
}
