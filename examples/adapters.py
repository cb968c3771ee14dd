"""Several adapters with a scale each, asked about first: what would be used, and what was."""

import os
import sys

from lorajobs import Client, ClientError

URL = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
request = {
    "model": "demo",
    "prompt": "a rocket",
    "loras": [{"id": "pixel", "scale": 0.7}, {"id": "lineart", "scale": 0.4}],
    "num_images": 2,
}

with Client(URL, api_key=os.environ.get("LORAJOBS_API_KEY")) as client:
    print("there are", ", ".join(lora["id"] for lora in client.loras()))
    try:
        plan = client.dry_run(request)  # every check of a submit, nothing is created
    except ClientError as error:
        sys.exit(str(error))  # names the wrong field and what is allowed there
    print("about to wait", plan["queue"]["eta_s"], "s behind", plan["queue"]["position"], "jobs")
    job = client.submit(request, wait_s=60)
    job = client.wait(job["id"], timeout_s=300)
    # What the engine verified to be active, not what was asked for.
    for lora in job["applied_loras"]:
        print("applied", lora["id"], lora["scale"], lora["sha256"][:8])
    print(len(job["outputs"]), "pictures with the seeds", [o["seed"] for o in job["outputs"]])
