"""Submits a job, waits for its end and saves the picture: python generate.py [FILE]."""

import os
import sys
from pathlib import Path

from lorajobs import Client

URL = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
file = Path(sys.argv[1] if len(sys.argv) > 1 else "heart.png")

with Client(URL, api_key=os.environ.get("LORAJOBS_API_KEY")) as client:
    job = client.submit({"model": "demo", "prompt": "a red heart", "seed": 7})
    print("submitted", job["id"])
    job = client.wait(job["id"], timeout_s=300)
    if job["status"] != "succeeded":
        sys.exit(f"{job['status']}: {job['error'] and job['error']['detail']}")
    file.write_bytes(client.download(job["outputs"][0]))  # its SHA-256 is checked
    print("saved", file)
