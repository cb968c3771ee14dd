import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from lorajobs.errors import ConfigError
from lorajobs.settings import Settings
from lorajobs.webhook_secrets import new_secret


def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_API_PORT", "eighty")
    with pytest.raises(ConfigError, match=r"^LORAJOBS_API_PORT: .*integer"):
        Settings.from_env()


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("API_PORT", "0", "greater than or equal to 1"),
        ("API_PORT", "65536", "less than or equal to 65535"),
        ("API_WORKERS", "0", "greater than or equal to 1"),
        ("API_THREADS", "-1", "greater than or equal to 1"),
        ("MAX_BODY_BYTES", "0", "greater than or equal to 1"),
        ("LORA_MAX_BYTES", "-5", "greater than or equal to 1"),
        ("FETCH_TIMEOUT_S", "0", "greater than 0"),
        ("TORCH_THREADS", "0", "greater than or equal to 1"),
        ("MAX_ATTEMPTS", "0", "greater than or equal to 1"),
        ("MAX_RUNTIME_S", "nan", "finite number"),
        ("STEP_TIMEOUT_S", "0", "greater than 0"),
        ("LEASE_S", "inf", "finite number"),
        ("LEASE_S", "-1", "greater than 0"),
        ("RENEW_S", "0", "greater than 0"),
        ("SWEEP_S", "0", "greater than 0"),
        ("CANCEL_GRACE_S", "-1", "greater than or equal to 0"),
        ("SHUTDOWN_GRACE_S", "-1", "greater than or equal to 0"),
        ("FLOWER_PORT", "99999", "less than or equal to 65535"),
        ("WEBHOOK_TIMEOUT_S", "0", "greater than 0"),
        ("WEBHOOK_RETRY_S", "[5, -1]", "greater than or equal to 0"),
        ("LOG_LEVEL", "loud", "'DEBUG', 'INFO'"),
        ("PUBLIC_URL", "api.example.com", r"http\(s\) URL"),
        ("PUBLIC_URL", "https://", r"http\(s\) URL"),
        ("PUBLIC_URL", "https://host/?a=b", r"http\(s\) URL"),
        ("API_URL", "http://host:99999", r"http\(s\) URL"),
        ("WEBHOOK_SECRET", "c2VjcmV0" * 6, "`whsec_`"),
        ("WEBHOOK_SECRET", "whsec_c2VjcmV0", "24 to 64 random bytes"),
        ("WEBHOOK_SECRET", "whsec_" + "c2VjcmV0" * 12, "24 to 64 random bytes"),
        ("WEBHOOK_SECRET", "whsec_" + "c2Vj-mV0" * 6, "in base64"),
    ],
)
def test_a_senseless_value_names_its_variable(
    name: str, value: str, allowed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"LORAJOBS_{name}", value)
    with pytest.raises(ConfigError, match=rf"^LORAJOBS_{name}: .*{allowed}") as caught:
        Settings.from_env()
    assert "Value error" not in caught.value.detail
    assert "c2Vj" not in f"{caught.value.detail} {caught.value.__cause__}"


def test_the_hub_is_a_web_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "huggingface.co")
    with pytest.raises(ConfigError, match=r"^HF_ENDPOINT: give an"):
        Settings.from_env()


@pytest.mark.parametrize(("lease", "renew"), [("6", "3"), ("2", None), ("6", "60")])
def test_a_lease_is_renewed_twice_before_it_ends(
    lease: str, renew: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAJOBS_LEASE_S", lease)
    if renew:
        monkeypatch.setenv("LORAJOBS_RENEW_S", renew)
    with pytest.raises(ConfigError, match=f"^LORAJOBS_RENEW_S: .*LORAJOBS_LEASE_S, .* {lease}$"):
        Settings.from_env()


def test_the_disk_holds_the_largest_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_DISK_CACHE_GB", "1")
    with pytest.raises(ConfigError, match=r"^LORAJOBS_DISK_CACHE_GB: .*LORAJOBS_LORA_MAX_BYTES"):
        Settings.from_env()
    monkeypatch.setenv("LORAJOBS_LORA_MAX_BYTES", "1000000000")
    assert Settings.from_env().disk_cache_gb == 1
    monkeypatch.setenv("LORAJOBS_DISK_CACHE_GB", "0")
    assert Settings.from_env().disk_cache_gb == 0


def test_values_that_make_sense_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "LOG_LEVEL": "debug",
        "PUBLIC_URL": "https://[::1]:8443/api/",
        "LEASE_S": "2",
        "RENEW_S": "0.5",
        "CANCEL_GRACE_S": "0",
        "WEBHOOK_RETRY_S": "[]",
        "WEBHOOK_SECRET": new_secret(),
    }
    for name, value in given.items():
        monkeypatch.setenv(f"LORAJOBS_{name}", value)
    settings = Settings.from_env()
    assert settings.log_level == "DEBUG"
    assert (settings.base_url, settings.webhook_retry_s) == ("https://[::1]:8443/api", ())


def test_passwords_in_urls_are_not_shown() -> None:
    settings = Settings(
        redis_url="rediss://me:p@ss@host:6379/0?db=1&password=p2ss&timeout=3",
        broker_url="amqp://a:p3ss@one//;amqp://b:p4ss@two//",
        api_url="https://api.example",
    )
    shown = settings.shown()
    assert shown["LORAJOBS_REDIS_URL"] == (
        "rediss://**********@host:6379/0?db=1&password=**********&timeout=3"
    )
    assert shown["LORAJOBS_BROKER_URL"] == "amqp://**********@two//"
    assert shown["LORAJOBS_API_URL"] == "https://api.example"
    assert settings.environ()["LORAJOBS_REDIS_URL"] == settings.redis_url


def test_a_misspelt_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_REDIS_ULR", "redis://elsewhere")
    with pytest.raises(ConfigError, match=r"LORAJOBS_REDIS_ULR.*did you mean LORAJOBS_REDIS_URL"):
        Settings.from_env()


def test_a_list_that_is_no_json_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_LORA_ROOTS", "/loras")
    with pytest.raises(ConfigError, match="LORAJOBS_LORA_ROOTS: a list is written as JSON"):
        Settings.from_env()


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_CONFIG", "")
    assert Settings.from_env().config is None


def test_an_empty_list_of_gpus_hides_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    settings = Settings.from_env()
    assert settings.cuda_visible_devices == ""
    assert settings.environ()["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert Settings.from_env().cuda_visible_devices is None
    assert "CUDA_VISIBLE_DEVICES" not in Settings.from_env().environ()


def test_a_child_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAJOBS_DEVICE", "cuda")
    settings = Settings.from_env().model_copy(
        update={
            "device": None,
            "data_dir": Path("/some where"),
            "lora_roots": (Path("/a"), Path("/b,c")),
            "webhook_retry_s": (0.5, 7.0),
            "webhook_secret": SecretStr(new_secret()),
            "hf_token": SecretStr("hf_x"),
            "hf_endpoint": "http://127.0.0.1:1",
            "webhook_private": ("hooks.internal", "10.0.0.0/8"),
            "url_ports": (443, 9443),
            "url_http": True,
            "picture_metadata": False,
        }
    )
    environment = settings.environ()
    for name in ("LORAJOBS_DEVICE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Settings.from_env() == settings


def test_a_child_in_another_folder_finds_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(config=Path("my.toml"), lora_roots=(Path("~/loras"), Path("here")))
    environment = settings.environ()
    assert environment["LORAJOBS_CONFIG"] == str(tmp_path / "my.toml")
    assert environment["LORAJOBS_DATA_DIR"] == str(Path.home() / ".lorajobs")
    assert json.loads(environment["LORAJOBS_LORA_ROOTS"]) == [
        str(Path.home() / "loras"),
        str(tmp_path / "here"),
    ]


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("Hooks.Internal", "hooks.internal"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("fd00::/8", "fd00::/8"),
        ("localhost", "localhost"),
    ],
)
def test_hosts_and_networks_inside(monkeypatch: pytest.MonkeyPatch, given: str, read: str) -> None:
    monkeypatch.setenv("LORAJOBS_WEBHOOK_PRIVATE", json.dumps([given]))
    assert Settings.from_env().webhook_private == (read,)


@pytest.mark.parametrize("given", ["10.0.0.1/8", "10.0.0", "http://x", "a b", "*", "", "x:80"])
def test_what_is_no_host_or_network(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("LORAJOBS_WEBHOOK_PRIVATE", json.dumps([given]))
    with pytest.raises(ConfigError, match=r"LORAJOBS_WEBHOOK_PRIVATE: .*give a host such as"):
        Settings.from_env()


def test_every_setting_is_described() -> None:
    assert all(row.description for row in Settings.table())
    assert ("LORAJOBS_API_PORT", "8000", "port the API listens on") in Settings.table()
    assert any(row.variable == "HF_TOKEN" for row in Settings.table())
