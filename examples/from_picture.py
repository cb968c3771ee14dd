"""Starts from a picture of your own, near to it and far from it: from_picture.py FILE."""

import os
import sys
from pathlib import Path

from lorajobs import Client

URL = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
file = Path(sys.argv[1])

with Client(URL, api_key=os.environ.get("LORAJOBS_API_KEY")) as client:
    # Kept for a day; the same file again has the same id.
    image = client.upload_image(file)
    print("uploaded", image["width"], "x", image["height"])
    request = {"model": "demo", "prompt": "a red heart", "seed": 7, "image": image["id"]}
    for strength in (0.3, 0.7):
        job = client.submit({**request, "strength": strength}, wait_s=60)
        job = client.wait(job["id"], timeout_s=300)
        target = Path(f"from-{file.stem}-{strength}.png")
        target.write_bytes(client.download(job["outputs"][0]))
        print("saved", target, "after", job["progress"]["steps"], "steps")
