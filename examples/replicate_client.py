"""Replicate's client, unchanged but for the URL: replicate_client.py [FILE]."""

import os
import sys
from pathlib import Path

import httpx
from replicate.client import Client

url = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
file = Path(sys.argv[1] if len(sys.argv) > 1 else "heart.png")

# Any token will do where no key was made.
client = Client(api_token=os.environ.get("LORAJOBS_API_KEY", "none"), base_url=url)
urls = client.run(
    "lorajobs/demo",
    input={"prompt": "a red heart", "lora_weights": "pixel", "lora_scale": 0.9, "seed": 7},
    use_file_output=False,
)
assert isinstance(urls, list)
file.write_bytes(httpx.get(urls[0]).raise_for_status().content)
print("saved", file)
