"""Hugging Face's client, unchanged but for the URL: huggingface_client.py [FILE]."""

import os
import sys

from huggingface_hub import InferenceClient

url = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
file = sys.argv[1] if len(sys.argv) > 1 else "heart.png"

# Any token will do where no key was made. The header names an adapter, here or on the hub.
client = InferenceClient(
    base_url=url,
    token=os.environ.get("LORAJOBS_API_KEY", "none"),
    headers={"lora": "pixel"},
    timeout=120,
)
picture = client.text_to_image("a red heart", num_inference_steps=20, seed=7)
picture.save(file)
print("saved", file, picture.size)
