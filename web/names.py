"""What the clients of other APIs call a base or an adapter, in our terms."""

from web.caller import own_loras
from web.deps import deps


def model_named(name: str | None) -> str:
    """The `model` of a request that says this; the default base if it says nothing.

    A base goes by its repository on the hub too. What nobody knows is left as it is.
    """
    catalog = deps().catalog
    if name is None:
        return catalog.default.id
    if catalog.model(name):
        return name
    asked = name.lower()
    served = (m.id for m in catalog.models.values() if m.repo and m.repo.lower() == asked)
    return next(served, name)


def lora_named(name: str) -> tuple[str, str]:
    """The field of an adapter's request that this text belongs into, and what goes there.

    A registered id, or a reference; a repository on the hub needs no `hf:` before its name.
    Raises: StoreUnavailable.
    """
    if own_loras().find(name) or not {":", "/"} & set(name):
        return "id", name
    owner, _, repo = name.partition("/")
    in_hub = owner and repo and not {":", "/"} & set(repo) and ":" not in owner
    return "path", f"hf:{name}" if in_hub else name
