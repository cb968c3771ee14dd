"""Uploads an adapter, uses it under its id, and shows what it cost: upload_adapter.py FILE."""

import os
import sys
from pathlib import Path

from lorajobs import Client

URL = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
file = Path(sys.argv[1])

with Client(URL, api_key=os.environ.get("LORAJOBS_API_KEY")) as client:
    # Refused here, with the reason, if it is no adapter of this base.
    lora = client.upload_lora("my-style", file, base="demo", scale=0.8)
    print("uploaded", lora["id"], lora["bytes"], "bytes, version", lora["revision"])
    job = client.submit(
        {"model": "demo", "prompt": "a red heart", "loras": [{"id": "my-style"}]}, wait_s=60
    )
    job = client.wait(job["id"], timeout_s=300)
    print(job["status"], "with", [(used["id"], used["scale"]) for used in job["applied_loras"]])
    for used in client.usage("adapter"):
        print(used["adapter"], used["jobs"], "jobs", f"{used['gpu_s']:.3f} GPU seconds")
