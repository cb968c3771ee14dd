// A job as others make it again: the body of its request, a curl line, a Python script.

import { storedKey } from "./key.js";

const USUAL = {
  negative_prompt: "",
  num_images: 1,
  on_lora_error: "fail",
  priority: "normal",
};

// The request that `input` of a job came from, without what goes without saying.
export function bodyOf(input) {
  const { loras, image, output, metadata, webhook, ...rest } = input;
  const body = {};
  for (const [name, value] of Object.entries(rest)) {
    if (value !== null && value !== USUAL[name]) body[name] = value;
  }
  if (loras.length) body.loras = loras;
  if (image) body.image = image.reference;
  if (output.format !== "png") body.output = output;
  if (Object.keys(metadata).length) body.metadata = metadata;
  return body;
}

export function curl(body) {
  // Within a shell's single quotes only a single quote means anything.
  const quoted = JSON.stringify(body, null, 1).replaceAll("'", "'\\''");
  const lines = [
    `curl -s '${location.origin}/v1/jobs'`,
    "-H 'Content-Type: application/json'",
    ...(storedKey() ? ['-H "Authorization: Bearer $LORAJOBS_API_KEY"'] : []),
    `-d '${quoted}'`,
  ];
  return `${lines.join(" \\\n  ")}\n`;
}

export function python(body) {
  const key = storedKey() ? ', api_key=os.environ["LORAJOBS_API_KEY"]' : "";
  // JSON of strings, numbers, lists and objects is Python too.
  const literal = JSON.stringify(body, null, 4).replaceAll("\n", "\n    ");
  return `${key && "import os\n\n"}import lorajobs

with lorajobs.Client("${location.origin}"${key}) as client:
    job = client.submit(${literal})
    job = client.wait(job["id"])
    for output in job["outputs"]:
        name = f"{job['id']}-{output['index']}.${body.output?.format ?? "png"}"
        with open(name, "wb") as file:
            file.write(client.download(output))
        print(name)
`;
}
