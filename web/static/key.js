// Asks this server's API: with a key once one is needed, which is kept for this tab alone.

const NAME = "lorajobs.key";
const dialog = document.getElementById("key-dialog");
const forget = document.getElementById("forget-key");
let asking = null;

// An answer of the API that is an error: its problem document (RFC 9457).
export class Problem extends Error {
  // `status` is 0 if there was no answer.
  constructor(status, document) {
    super(document.detail || document.title || `the API answered ${status}`);
    this.status = status;
    this.code = document.code || "";
    // {pointer, detail} for each wrong field
    this.errors = document.errors || [];
    this.retryable = Boolean(document.retryable);
  }
}

export const storedKey = () => sessionStorage.getItem(NAME);

// The JSON of an answer, null of one without a body. Throws Problem.
export async function fetchJson(path, { json, ...options } = {}) {
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers = { ...options.headers, "Content-Type": "application/json" };
  }
  const answer = await ask(path, options);
  return answer.status === 204 ? null : answer.json();
}

// The bytes of an answer. Throws Problem.
export async function fetchBlob(path, options = {}) {
  return (await ask(path, options)).blob();
}

// The events of a stream: {id, event, data}, `data` parsed. `EventSource` could show no key.
// Ends when the server ends it; throws when the connection breaks off.
export async function* fetchEvents(path, { lastId = "", signal } = {}) {
  const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
  const answer = await ask(path, { headers, signal });
  if (answer.status === 204) return;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const frames = (text + value).split("\n\n");
      text = frames.pop();
      for (const frame of frames) {
        const event = parsed(frame);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(frame) {
  const fields = {};
  for (const line of frame.split("\n")) {
    const [, name, value] = line.match(/^(\w+): ?(.*)$/) || [];
    if (name) fields[name] = value;
  }
  return fields.data && { id: fields.id, event: fields.event, data: JSON.parse(fields.data) };
}

// An answer that is no error, after asking for a key if that was what was missing.
async function ask(path, options) {
  for (;;) {
    const key = storedKey();
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    const answer = await reached(path, { ...options, headers });
    if (answer.ok) return answer;
    const problem = await problemOf(answer);
    if (answer.status !== 401) throw problem;
    // Another request may have been given one meanwhile.
    if (storedKey() === key && !(await askForKey(problem))) throw problem;
  }
}

async function reached(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, { detail: "The API does not answer. Is it running?", retryable: true });
  }
}

async function problemOf(answer) {
  try {
    return new Problem(answer.status, await answer.json());
  } catch {
    return new Problem(answer.status, {});
  }
}

// True once there is a key; one dialog for all that ask at the same time.
function askForKey(problem) {
  asking ??= new Promise((resolve) => {
    sessionStorage.removeItem(NAME);
    const input = dialog.querySelector("input");
    document.getElementById("key-why").textContent =
      problem.code === "key_invalid" ? "That key is not in use here." : "";
    dialog.returnValue = "";
    input.value = "";
    dialog.addEventListener(
      "close",
      () => {
        asking = null;
        const key = dialog.returnValue && input.value.trim();
        if (key) sessionStorage.setItem(NAME, key);
        input.value = "";
        show();
        resolve(Boolean(key));
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}

function show() {
  forget.hidden = !storedKey();
}

forget.addEventListener("click", () => {
  sessionStorage.removeItem(NAME);
  location.reload();
});
show();
