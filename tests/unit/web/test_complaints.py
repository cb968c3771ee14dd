"""What users of others complain of and no other test shows; `docs/complaints.md` has the list."""

import ast
from pathlib import Path

from lorajobs.storage.folder import FolderStore
from tests.shelf import PUBLIC_URL
from tests.unit.web.api import Api, problem_of
from web.gate import FOREIGN

WEB = Path(__file__).parents[3] / "web"


def imports(module: str) -> set[str]:
    """What a file of `web/` imports, as `module.name`."""
    nodes = ast.walk(ast.parse((WEB / f"{module}.py").read_text()))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{name.name}" for node in froms for name in node.names}


def test_no_submit_is_answered_409(api: Api) -> None:
    # Clients send a POST again on 409, and never show the error.
    post = api.client.get("/openapi.json").get_json()["paths"]["/v1/jobs"]["post"]
    assert {"202", "422", "429"} <= set(post["responses"])
    assert "409" not in post["responses"]


def test_every_surface_submits_in_the_same_way() -> None:
    modules = {path.stem for path in WEB.glob("*.py")}
    assert {m for m in modules if "lorajobs.submit.submit" in imports(m)} == {"submission"}
    # `web.pictures` waits for what the one way accepts.
    for surface in FOREIGN | {"jobs"}:
        assert imports(surface) & {"web.submission.accept", "web.pictures.made"}, surface
    assert "web.submission.accept" in imports("pictures")


def test_who_asks_again_gets_a_picture_whose_link_expired(api: Api) -> None:
    job_id = api.submit()
    api.finish(job_id, [b"a picture"])
    at_once = FolderStore(api.shelf.folder, PUBLIC_URL, 0)
    expired = at_once.url(api.store.get(job_id).pictures[0].key).url
    problem_of(api.client.get(expired.removeprefix(PUBLIC_URL)), 403, "forbidden")
    (output,) = api.client.get(f"/v1/jobs/{job_id}").get_json()["outputs"]
    assert output["url_expires_at"] > api.client.get(f"/v1/jobs/{job_id}").get_json()["created_at"]
    led = api.client.get(f"/v1/jobs/{job_id}/outputs/0").headers["Location"]
    for url in (output["url"], led):
        assert api.client.get(url.removeprefix(PUBLIC_URL), buffered=True).data == b"a picture"
