// Copies of the page's templates. What comes from users only ever becomes text.

// The template's element as `root`, and its named parts.
export function clone(id) {
  const root = document.getElementById(id).content.cloneNode(true).firstElementChild;
  const parts = { root };
  for (const part of root.querySelectorAll("[data-part]")) parts[part.dataset.part] = part;
  return parts;
}

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

// A number as people read it: 0.8000000001 is 0.8.
export const plain = (number) => String(Number(Number(number).toFixed(3)));
