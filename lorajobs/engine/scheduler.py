"""Schedulers: a fresh one for each picture, made from the base's own configuration."""

import diffusers
from diffusers import SchedulerMixin

from lorajobs.errors import EngineFailed


def fresh(base: SchedulerMixin, name: str | None) -> SchedulerMixin:
    """A scheduler without any state: the class of that name, or the base's own.

    Raises: EngineFailed if diffusers has no such class or it cannot take the base's configuration.
    """
    kind: type[SchedulerMixin] = (
        type(base) if name is None else getattr(diffusers, name, type(None))
    )
    if not issubclass(kind, SchedulerMixin):
        raise EngineFailed(f"diffusers has no scheduler {name!r}")
    try:
        return kind.from_config(base.config)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise EngineFailed(f"{name} cannot replace {type(base).__name__}: {error}") from error
