"""Where pictures are stored, and whether those who get their URLs can read them."""

import secrets
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime

import httpx

from lorajobs.doctor.finding import Finding, ok, warning, wrong
from lorajobs.errors import LoraJobsError
from lorajobs.setting_text import masked
from lorajobs.settings import Settings
from lorajobs.storage import open_store
from lorajobs.storage.base import ObjectStore

#: What folders of nothing but a probe begin with.
FOLDER = "doctor-"
TIMEOUT_S = 5.0
#: S3 refuses signatures that are 15 minutes off.
SKEW_S = 60.0
#: What helps, by what S3 or its client says.
_WAYS_OUT = {
    "NoSuchBucket": "make the bucket, or correct LORAJOBS_S3_BUCKET",
    "SignatureDoesNotMatch": "correct LORAJOBS_S3_SECRET_KEY and LORAJOBS_S3_REGION",
    "InvalidAccessKeyId": "correct LORAJOBS_S3_ACCESS_KEY",
    "AccessDenied": "allow the key s3:PutObject, GetObject, DeleteObject and ListBucket",
    "RequestTimeTooSkewed": "set this machine's clock by NTP",
    "AuthorizationHeaderMalformed": "correct LORAJOBS_S3_REGION",
    "IllegalLocationConstraint": "correct LORAJOBS_S3_REGION",
    "PermanentRedirect": "correct LORAJOBS_S3_REGION or LORAJOBS_S3_ENDPOINT",
    "EndpointConnectionError": "correct LORAJOBS_S3_ENDPOINT; a server without a host name for "
    "each bucket needs LORAJOBS_S3_PATH_STYLE=true",
    "ConnectTimeoutError": "correct LORAJOBS_S3_ENDPOINT, or open the firewall to it",
    "SSLError": "give a certificate that this machine trusts, or an http:// endpoint",
}
_FOLDER_WAY_OUT = "give the user that runs this the folder LORAJOBS_DATA_DIR, and room in it"


def objects(settings: Settings) -> Iterator[Finding]:
    """Stores a probe, reads it back as workers and as clients do, and erases it."""
    # A try that fails need not be repeated for minutes. A port that only `up` was told of is known
    # here by the API's URL.
    public = settings.public_url or settings.api_url
    told: dict[str, object] = {"s3_retries": 1, "fetch_timeout_s": TIMEOUT_S, "public_url": public}
    quick = settings.model_copy(update=told)
    store = open_store(quick)
    folder, data = f"{FOLDER}{secrets.token_hex(8)}/", secrets.token_bytes(64)
    key = f"{folder}probe"
    where = (
        f"bucket {settings.s3_bucket}" if settings.s3_bucket else "a folder in LORAJOBS_DATA_DIR"
    )
    try:
        yield _kept(store, key, data, where)
        yield from _public(quick, store.url(key).url, data)
    except (LoraJobsError, OSError) as error:
        yield wrong(f"{where}: {_said(error)}", _way_out(settings, str(error)))
        return
    finally:
        _erase(store, folder)
    yield from _gone(store, key, where)


def _kept(store: ObjectStore, key: str, data: bytes, where: str) -> Finding:
    begun = time.perf_counter()
    store.put(key, data, "application/octet-stream")
    took_ms = 1000 * (time.perf_counter() - begun)
    if store.read(key, len(data)) != data:
        return wrong(f"{where}: it gives other bytes than it was given", "do not use this store")
    return ok(f"{where} takes and gives objects, {took_ms:.0f} ms for a small one")


def _erase(store: ObjectStore, folder: str) -> None:
    try:
        store.delete(folder)
    except (LoraJobsError, OSError):
        # `_gone` says so.
        return


def _gone(store: ObjectStore, key: str, where: str) -> Iterator[Finding]:
    try:
        left = store.exists(key)
    except OSError:
        left = True
    if left:
        text = f"{where}: {key} could not be erased, so pictures stay after LORAJOBS_RETENTION_S"
        yield wrong(text, "allow the key s3:DeleteObject and s3:ListBucket")


def _public(settings: Settings, url: str, data: bytes) -> Iterator[Finding]:
    """Reads the probe from the URL that clients would get."""
    shown = masked(url.partition("?")[0].rpartition(f"/{FOLDER}")[0])
    setting = "LORAJOBS_S3_PUBLIC_ENDPOINT" if settings.s3_bucket else "LORAJOBS_PUBLIC_URL"
    try:
        answer = httpx.get(url, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"picture URLs begin with {shown}, which does not answer ({type(error).__name__})"
        way_out = f"set {setting} to what clients reach"
        if not settings.s3_bucket:
            way_out = f"start the API, which serves them, or {way_out}"
        yield wrong(text, way_out)
        return
    if answer.status_code != httpx.codes.OK or answer.content != data:
        text = f"a signed picture URL at {shown} answers {answer.status_code}{_code(answer)}"
        way_out = f"see that {setting} leads to the same store, and that no proxy changes Host"
        yield wrong(text, way_out)
    else:
        yield ok(f"signed picture URLs can be read at {shown}")
    yield from _loopback(shown, setting)
    yield from _clock(answer)


def _loopback(shown: str, setting: str) -> Iterator[Finding]:
    host = httpx.URL(shown).host
    if host in ("localhost", "127.0.0.1", "::1"):
        text = f"picture URLs name {host}: only programs on this machine can read them"
        yield warning(text, f"set {setting}, unless that is all you want")


def _clock(answer: httpx.Response) -> Iterator[Finding]:
    said = answer.headers.get("date")
    if said is None:
        return
    ahead_s = parsedate_to_datetime(said).timestamp() - time.time()
    if abs(ahead_s) > SKEW_S:
        text = f"the store's clock and this machine's are {abs(ahead_s):,.0f} s apart"
        yield wrong(text, "set both by NTP: URLs are signed with the time")


def _code(answer: httpx.Response) -> str:
    """S3's own word for what is wrong."""
    _, found, rest = answer.text.partition("<Code>")
    return f" {rest.partition('<')[0]}" if found else ""


def _said(error: Exception) -> str:
    return error.detail if isinstance(error, LoraJobsError) else str(error)


def _way_out(settings: Settings, said: str) -> str:
    if not settings.s3_bucket:
        return _FOLDER_WAY_OUT
    found = (way_out for code, way_out in _WAYS_OUT.items() if code in said)
    return next(found, "see LORAJOBS_S3_* in docs/settings.md")
