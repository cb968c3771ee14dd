#!/bin/sh
# The same with curl alone: generate.sh [FILE]. Needs no JSON reader: the picture has a path of its own.
set -eu
url=${LORAJOBS_API_URL:-http://127.0.0.1:8000}
file=${1:-heart.png}
key=${LORAJOBS_API_KEY:+Authorization: Bearer $LORAJOBS_API_KEY}

# The answer comes when the job has ended, after 60 s at the latest; its Location is the job's URL.
job=$(curl -sS --fail-with-body -D - -o /dev/null ${key:+-H "$key"} \
    -H 'Content-Type: application/json' -H 'Prefer: wait=60' \
    -d '{"model": "demo", "prompt": "a red heart", "loras": [{"id": "pixel", "scale": 0.9}], "seed": 7}' \
    "$url/v1/jobs" | tr -d '\r' | sed -n 's/^[Ll]ocation: //p')
echo "submitted $job"
# Leads to the storage by a fresh URL; curl takes the key to no other host.
curl -sS --fail -L ${key:+-H "$key"} -o "$file" "$job/outputs/0"
echo "saved $file"
