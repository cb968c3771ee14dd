"""Which URLs are called: a corpus of ways inside, none of which is."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from lorajobs.addresses import resolved
from lorajobs.errors import UrlNotAllowed
from lorajobs.reach import Reach
from lorajobs.settings import Settings

#: Names as a name server may answer for them.
NAMES = {
    "public.example": ["93.184.216.34"],
    "both.example": ["2606:4700::1111", "93.184.216.34"],
    "inside.example": ["10.0.0.7"],
    "mixed.example": ["93.184.216.34", "127.0.0.1"],
    "mapped.example": ["::ffff:93.184.216.34"],
    "nat64.example": ["64:ff9b::a9fe:a9fe"],
    "teredo.example": ["2001:0:4136:e378:8000:63bf:3fff:fdd2"],
    "zone.example": ["fe80::1%1"],
    "nowhere.example": [],
}


def resolve(host: str, port: int) -> Sequence[str]:
    """The names above; anything else as this machine resolves it."""
    return NAMES[host] if host in NAMES else resolved(host, port)


REACH = replace(Reach.of_webhooks(Settings()), resolve=resolve)

LOOPBACK = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "017700000001",
    "0177.0.0.01",
    "0177.1",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost..",
    "LocalHost.",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[0000::0001]",
]
ELSEWHERE_INSIDE = [
    "169.254.169.254",
    "169.254.170.2",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "[fe80::a9fe:a9fe]",
    "100.100.100.200",
    "10.0.0.1",
    "192.168.0.1",
    "172.31.255.255",
    "[fc00::1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:a9fe:a9fe::]",
    "inside.example",
    "INSIDE.example.",
    "mixed.example",
    "mapped.example",
    "nat64.example",
    "teredo.example",
    "zone.example",
]


@pytest.mark.parametrize("host", [*LOOPBACK, *ELSEWHERE_INSIDE])
def test_no_spelling_leads_inside(host: str) -> None:
    with pytest.raises(UrlNotAllowed, match="not public"):
        REACH.vet(f"https://{host}/x")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://public.example/x", "only https://"),
        ("https://public.example:22/x", "port 22 is not in LORAJOBS_URL_PORTS"),
        ("https://public.example:80/x", "port 80"),
        ("https://public.example:6379/x", "port 6379"),
        ("https://public.example:0/x", "port 0"),
        ("https://public.example:99999/x", "not a URL"),
        ("https://user@public.example/x", "user name"),
        ("https://user:password@public.example/x", "user name"),
        ("https://public.example@127.0.0.1/x", "user name"),
        ("https://127.0.0.1#@public.example/", "fragment|not public"),
        ("https://public.example\\@127.0.0.1/", "percent-encoded"),
        ("https://public.example/\r\nHost: x", "percent-encoded"),
        ("https://public.example /", "percent-encoded"),
        ("https://①②⑦.⓪.⓪.①/", "percent-encoded"),
        ("https://127。0。0。1/", "percent-encoded"),
        ("https://127.0.0.%31/x", "cannot be resolved"),
        ("https://does-not-exist.invalid/x", "cannot be resolved"),
        (f"https://{'a' * 64}.example/x", "cannot be resolved"),
        ("https://nowhere.example/x", "cannot be resolved"),
        ("https://./x", "names no host"),
        ("https:///x", "names no host"),
        ("https://[::1/x", "not a URL"),
        ("ftp://public.example/x", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("gopher://127.0.0.1:6379/_SET", "must begin with https://"),
        ("//public.example/x", "must begin with https://"),
    ],
)
def test_urls_that_are_not_called(url: str, says: str) -> None:
    with pytest.raises(UrlNotAllowed, match=says):
        REACH.vet(url)


def test_a_vetted_url_names_the_addresses_to_connect_to() -> None:
    route = REACH.vet("https://BOTH.example.:8443/a/b?x=1")
    assert tuple(route) == ("https", "both.example", 8443, "/a/b?x=1", NAMES["both.example"])
    assert route.authority == "both.example:8443"
    assert REACH.vet("https://public.example").target == "/"
    assert REACH.vet("https://[2606:4700::1111]/").authority == "[2606:4700::1111]"


def test_a_password_in_a_refused_url_is_not_repeated() -> None:
    with pytest.raises(UrlNotAllowed) as caught:
        REACH.vet("https://user:secret@public.example/?key=hidden")
    assert "secret" not in caught.value.detail
    assert "hidden" not in caught.value.detail


def test_http_to_the_internet_is_a_setting() -> None:
    reach = replace(REACH, http=True)
    assert reach.vet("http://public.example/").port == 80
    with pytest.raises(UrlNotAllowed, match="port 8080"):
        reach.vet("http://public.example:8080/")
    with pytest.raises(UrlNotAllowed, match="not public"):
        reach.vet("http://inside.example/")


@pytest.mark.parametrize("entry", ["10.0.0.0/8", "10.0.0.7/32", "inside.example", "*.example"])
def test_what_the_operator_lists_inside_is_reached_at_any_port_by_http(entry: str) -> None:
    reach = replace(REACH, private=(entry,))
    assert reach.vet("http://inside.example:9000/").addresses == ["10.0.0.7"]
    with pytest.raises(UrlNotAllowed, match="LORAJOBS_WEBHOOK_PRIVATE"):
        reach.vet("https://127.0.0.1/")
    # What is public stays held to its port and to https.
    with pytest.raises(UrlNotAllowed, match="only https"):
        reach.vet("http://public.example/")


def test_a_list_holds_every_address_of_a_host() -> None:
    reach = replace(REACH, private=("10.0.0.0/8",))
    with pytest.raises(UrlNotAllowed, match="not public"):
        reach.vet("https://mixed.example/")
    both = replace(REACH, private=("127.0.0.0/8",))
    assert len(both.vet("https://mixed.example/").addresses) == 2
    with pytest.raises(UrlNotAllowed, match="only https"):
        both.vet("http://mixed.example/")


def test_everywhere_opens_addresses_and_nothing_else() -> None:
    reach = replace(REACH, private=("0.0.0.0/0", "::/0"))
    assert reach.vet("http://127.0.0.1:1234/x").port == 1234
    assert reach.vet("http://[::1]:1234/x").host == "::1"
    for url in ("file:///etc/passwd", "http://a@127.0.0.1/"):
        with pytest.raises(UrlNotAllowed):
            reach.vet(url)


def test_adapters_may_be_held_to_some_hosts() -> None:
    settings = Settings(fetch_hosts=("public.example", "*.both.example"))
    reach = replace(Reach.of_requests(settings), resolve=lambda host, port: ["93.184.216.34"])
    assert reach.vet("https://PUBLIC.example./x")
    assert reach.vet("https://cdn.both.example/x")
    for host in ("both.example", "x.public.example", "notboth.example", "93.184.216.34"):
        with pytest.raises(UrlNotAllowed, match="LORAJOBS_FETCH_HOSTS"):
            reach.vet(f"https://{host}/x")


def test_each_purpose_has_settings_of_its_own() -> None:
    settings = Settings(webhook_private=("127.0.0.0/8",))
    assert Reach.of_webhooks(settings).vet("http://127.0.0.1:1/")
    with pytest.raises(UrlNotAllowed, match="LORAJOBS_FETCH_PRIVATE"):
        Reach.of_requests(settings).vet("http://127.0.0.1:1/")
