"""Command lines of other projects' documentation, run by a shell as they stand.

A bare machine has no curl: there, this file stands in for it with what such lines use of it.
"""

import argparse
import http.client
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

STAND_IN = "the stand-in"
#: Whoever can run the lines here.
RUNNERS = [STAND_IN, *(["curl"] if shutil.which("curl") else [])]
TIMEOUT_S = 60.0


def shell(script: str, folder: Path, runner: str) -> bytes:
    """What a script prints, run in a folder by the machine's `sh`."""
    lines = [script]
    if runner == STAND_IN:
        lines.insert(0, f'curl() {{ "{sys.executable}" "{__file__}" "$@"; }}')
    done = subprocess.run(
        ["sh", "-c", "\n".join(lines)], cwd=folder, capture_output=True, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def main() -> None:
    """Sends one request as curl would, and prints the body of the answer."""
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    body = parser.add_mutually_exclusive_group(required=True)
    body.add_argument("-d", dest="data")
    body.add_argument("--json")
    asked = parser.parse_args()
    url = urlsplit(asked.url if "://" in asked.url else f"http://{asked.url}")
    # It shows a host that is a number in full.
    host = f"0.0.0.0:{url.port}" if url.hostname == "0" else url.netloc
    headers = {
        "Host": host,
        "User-Agent": "curl/8",
        "Accept": "*/*",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    if asked.json:
        headers |= {"Content-Type": "application/json", "Accept": "application/json"}
    given = (header.partition(":") for header in asked.headers)
    headers |= {name.strip(): value.strip() for name, _, value in given}
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
    target = url._replace(scheme="", netloc="", path=url.path or "/").geturl()
    connection.request("POST", target, (asked.json or asked.data).encode(), headers)
    sys.stdout.buffer.write(connection.getresponse().read())
    connection.close()


if __name__ == "__main__":
    main()
