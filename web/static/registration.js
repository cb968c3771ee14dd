// The dialog that adds an adapter, from a file or a reference.

import { clearFaults, showFaults } from "./faults.js";
import { fetchJson } from "./key.js";
import { element } from "./parts.js";

export class Registration {
  // `added` gets the adapter that was registered.
  constructor(dialog, catalog, added) {
    this.dialog = dialog;
    this.catalog = catalog;
    this.added = added;
    this.form = dialog.querySelector("form");
    this.status = dialog.querySelector("[role=status]");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.form.addEventListener("change", () => this.#adjust());
    for (const name of ["file", "source"]) {
      this.#field(name).addEventListener("input", () => this.#suggest());
    }
    dialog.querySelector("#close-registration").addEventListener("click", () => dialog.close());
  }

  open(model) {
    this.#offer(model);
    this.#adjust();
    clearFaults(this.form);
    this.status.textContent = "";
    this.dialog.showModal();
  }

  #field(name) {
    return this.form.elements.namedItem(name);
  }

  get #isFile() {
    return this.#field("origin").value === "file";
  }

  #adjust() {
    for (const name of ["file", "source"]) {
      this.#field(name).closest(".field").hidden = (name === "file") !== this.#isFile;
    }
    // Only what is fetched can have a card that names its base.
    const [own] = this.#field("base").options;
    own.hidden = own.disabled = this.#isFile;
    if (own.disabled && own.selected) this.#field("base").selectedIndex = 1;
  }

  #offer(model) {
    const ids = this.catalog.models.map(({ id }) => id);
    const options = ["as its card says", ...ids].map((text) => element("option", text));
    options.forEach((option, index) => (option.value = index ? ids[index - 1] : ""));
    this.#field("base").replaceChildren(...options);
    this.#field("base").value = model?.id ?? "";
  }

  // A name by that of the file or repository, as long as nobody typed one.
  #suggest() {
    const id = this.#field("id");
    if (id.value && id.value !== id.dataset.suggested) return;
    const given = this.#isFile ? this.#field("file").files[0]?.name : this.#field("source").value;
    const last = (given ?? "").split(/[/?#]/).filter(Boolean).pop() ?? "";
    const name = last.replace(/\.safetensors$/, "").replace(/[^A-Za-z0-9._-]+/g, "-");
    id.value = id.dataset.suggested = name.replace(/^[^A-Za-z0-9]+/, "").slice(0, 128);
  }

  async #send() {
    clearFaults(this.form);
    const button = this.form.querySelector("[type=submit]");
    button.disabled = true;
    this.status.textContent = this.#isFile ? "Sending and checking the file …" : "Looking at it …";
    try {
      const lora = await fetchJson("/v1/loras", { method: "POST", ...this.#body() });
      this.status.textContent = "";
      this.form.reset();
      this.dialog.close();
      await this.added(lora);
    } catch (error) {
      this.status.textContent = "";
      const origin = this.form.querySelector(`[data-error="${this.#isFile ? "file" : "source"}"]`);
      // What is wrong with the adapter as a whole is wrong with where it comes from.
      showFaults(this.form, error, (pointer) => (pointer === "" ? origin : null));
    } finally {
      button.disabled = false;
    }
  }

  #body() {
    const said = {
      id: this.#field("id").value.trim(),
      base: this.#field("base").value,
      scale: this.#field("scale").value,
      license: this.#field("license").value.trim(),
    };
    const given = Object.entries(said).filter(([name, value]) => value !== "" || name === "id");
    const words = this.#field("trigger_words").value.split(",").map((word) => word.trim());
    const trigger_words = words.filter(Boolean);
    if (!this.#isFile) {
      const source = this.#field("source").value.trim();
      const fields = Object.fromEntries(given);
      if (fields.scale) fields.scale = Number(fields.scale);
      return { json: { ...fields, source, trigger_words } };
    }
    const body = new FormData();
    for (const [name, value] of given) body.append(name, value);
    for (const word of trigger_words) body.append("trigger_words", word);
    const [file] = this.#field("file").files;
    if (file) body.append("file", file);
    return { body };
  }
}
