"""OpenAI's client, unchanged but for the URL: openai_client.py [FILE]."""

import base64
import os
import sys
from pathlib import Path

import openai

url = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
file = Path(sys.argv[1] if len(sys.argv) > 1 else "heart.png")

# Any key will do where none was made.
client = openai.OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("LORAJOBS_API_KEY", "none"))
answer = client.images.generate(
    model="demo",
    prompt="a red heart",
    size="128x128",
    response_format="b64_json",
    # What OpenAI does not have.
    extra_body={"loras": [{"id": "pixel", "scale": 0.9}], "seed": 7},
)
assert answer.data
file.write_bytes(base64.b64decode(answer.data[0].b64_json or ""))
print("saved", file)
