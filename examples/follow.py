"""Follows a job live: its stages, its steps and its end."""

import os
import sys

from lorajobs import Client

URL = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")

with Client(URL, api_key=os.environ.get("LORAJOBS_API_KEY")) as client:
    job = client.submit({"model": "demo", "prompt": "a red heart", "num_inference_steps": 20})
    for event in client.stream(job["id"]):  # goes on by itself after a broken connection
        if event.kind == "progress":
            print(f"{event.data['stage']} {event.data['step']}/{event.data['steps']}", flush=True)
        else:
            print(event.kind, flush=True)
    if event.kind != "succeeded":  # the last event holds the whole job
        sys.exit(event.data["error"] and event.data["error"]["detail"])
    print("made with", client.models()[0]["id"], "in", event.data["metrics"]["generate_s"], "s")
