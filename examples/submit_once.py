"""Submits so that a lost answer costs nothing: the same key and body are the same job."""

import os
import uuid

from lorajobs import Client, ClientError

URL = os.environ.get("LORAJOBS_API_URL", "http://127.0.0.1:8000")
# Of the order in your own database, say; kept there before the first try.
order = str(uuid.uuid4())
request = {"model": "demo", "prompt": "a red heart", "seed": 7}

with Client(URL, api_key=os.environ.get("LORAJOBS_API_KEY")) as client:
    first = client.submit(request, idempotency_key=order)
    again = client.submit(request, idempotency_key=order)
    print("the same job:", first["id"] == again["id"])
    try:
        client.submit(request | {"seed": 8}, idempotency_key=order)
    except ClientError as error:
        print("another body is refused:", error.status)
    print(client.wait(first["id"], timeout_s=300)["status"])
