"""Who may import what, and who may read the environment."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lorajobs", "web")
HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate")
#: Who imports what others may not, modules and packages: they translate its errors. Ruff's
#: banned-api says so at once, but not of `web/`, which may import flask and nothing else of these.
OWNERS = {
    "redis": {
        "lorajobs.redis_awaited",
        "lorajobs.redis_client",
        "lorajobs.redis_events",
        "lorajobs.redis_images",
        "lorajobs.redis_keys",
        "lorajobs.redis_listeners",
        "lorajobs.redis_notices",
        "lorajobs.redis_scripts",
        "lorajobs.redis_store",
        "lorajobs.redis_tally",
        "lorajobs.redis_usage",
        "lorajobs.redis_watch",
        "lorajobs.adapters.registry",
    },
    "prometheus_client": {"lorajobs.metrics", "web.metrics"},
    "httpcore": {"lorajobs.guarded_http"},
    "boto3": {"lorajobs.storage.s3", "lorajobs.storage.s3_client", "lorajobs.storage.s3_errors"},
    "botocore": {"lorajobs.storage.s3", "lorajobs.storage.s3_client", "lorajobs.storage.s3_errors"},
    "huggingface_hub": {"lorajobs.adapters.hub", "lorajobs.engine.snapshot"},
    "celery": {
        "lorajobs.cancel",
        "lorajobs.celery",
        "lorajobs.claim",
        "lorajobs.courier",
        "lorajobs.drain",
        "lorajobs.settlement",
        "lorajobs.tasks",
        "lorajobs.tickets",
        "lorajobs.worker",
        "lorajobs.worker_child",
    },
    "kombu": {"lorajobs.cancel", "lorajobs.celery", "lorajobs.drain", "lorajobs.tickets"},
    "flask": {"web"},
    "werkzeug": {"web"},
    "web": {"web"},
    "torch": {"lorajobs.engine"},
    "diffusers": {"lorajobs.engine"},
    "transformers": {"lorajobs.engine"},
    "peft": {"lorajobs.engine"},
}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the packages by its name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = ast.parse(path.read_text(), str(path))
    return found


def imports(tree: ast.Module, known: dict[str, ast.Module]) -> Iterator[str]:
    """The modules of ours that a module imports, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                target = whole if whole in known else node.module
                if target in known:
                    yield target


def cycle_in(graph: dict[str, set[str]]) -> list[str] | None:
    """One cycle of the graph as the names along it, or None."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        for target in sorted(graph[name]):
            if found := visit(target, [*path, name]):
                return found
        done.add(name)
        return None

    return next((found for name in sorted(graph) if (found := visit(name, []))), None)


def test_no_module_imports_itself_in_a_circle() -> None:
    known = sources()
    graph = {name: set(imports(tree, known)) for name, tree in known.items()}
    assert sum(map(len, graph.values())) > 50
    assert cycle_in(graph) is None


def test_a_circle_would_be_found() -> None:
    assert cycle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle_in({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None


def test_only_the_settings_read_the_environment() -> None:
    readers = set()
    for name, tree in sources().items():
        for node in ast.walk(tree):
            touched = node.attr if isinstance(node, ast.Attribute) else ""
            taken = [a.name for a in node.names] if isinstance(node, ast.ImportFrom) else []
            owner = node.value if isinstance(node, ast.Attribute) else None
            of_os = isinstance(owner, ast.Name) and owner.id == "os"
            if (of_os and touched in ENVIRONMENT) or ENVIRONMENT & set(taken):
                readers.add(name)
    assert readers == {"lorajobs.settings"}


@cache
def packages() -> dict[str, set[str]]:
    """The packages that each module of ours imports, wherever the statement stands."""
    found = {}
    for name, tree in sources().items():
        nodes = list(ast.walk(tree))
        modules = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
        modules += [n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)]
        found[name] = {module.partition(".")[0] for module in modules}
    return found


@pytest.mark.parametrize("package", OWNERS)
def test_each_package_is_imported_by_its_owners_alone(package: str) -> None:
    owners = OWNERS[package]
    found = {
        next((owner for owner in owners if f"{name}.".startswith(f"{owner}.")), name)
        for name, imported in packages().items()
        if package in imported
    }
    assert found == owners


def run_without_heavy(code: str) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a process where the heavy packages cannot be imported."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", blocked + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    "module", ["web", "lorajobs.plan", "lorajobs.cli", "lorajobs.worker", "lorajobs.courier"]
)
def test_api_cli_courier_and_the_workers_parent_need_no_torch(module: str) -> None:
    ended = run_without_heavy(f"import {module}")
    assert ended.returncode == 0, ended.stderr


def test_a_blocked_package_cannot_be_imported() -> None:
    ended = run_without_heavy("import torch")
    assert ended.returncode == 1
    assert "ModuleNotFoundError" in ended.stderr


def test_the_api_opens_without_torch_and_without_any_service(tmp_path: Path) -> None:
    ended = run_without_heavy(
        "from pathlib import Path\n"
        "from lorajobs.settings import Settings\n"
        "from web import Deps, create_app\n"
        f"settings = Settings(data_dir=Path({str(tmp_path)!r}), redis_url='redis://127.0.0.1:1')\n"
        "client = create_app(Deps.open(settings)).test_client()\n"
        "assert client.get('/healthz').status_code == 200\n"
        "assert client.get('/v1/models').status_code == 503\n"
    )
    assert ended.returncode == 0, ended.stderr
