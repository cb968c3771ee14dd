"""What bases and adapters there are, for commands that also work where Redis does not answer."""

from collections.abc import Sequence

import click

from lorajobs.adapters.folder import Trust
from lorajobs.adapters.library import Library
from lorajobs.adapters.reference import parse
from lorajobs.adapters.registry import LoraRegistry, MemoryLoraRegistry, RedisLoraRegistry
from lorajobs.adapters.resolver import Resolver
from lorajobs.api_keys import OPERATOR
from lorajobs.catalog import Catalog
from lorajobs.errors import ConfigError, StoreUnavailable
from lorajobs.field_errors import listed
from lorajobs.redis_client import connect
from lorajobs.settings import Settings
from lorajobs.spec import Adapter
from lorajobs.storage import open_store


class Stock:
    """The configured and registered ones; without Redis the configured alone."""

    def __init__(self, settings: Settings) -> None:
        """Asks Redis once. Raises: ConfigError."""
        self.catalog = Catalog.load(settings.config)
        self._settings = settings
        self._objects = open_store(settings)
        self.library = self._open(RedisLoraRegistry(connect(settings.redis_url)))
        try:
            self.adapters: Sequence[str] = [r.id for r in self.library.records(OPERATOR)]
        except StoreUnavailable:
            # As where an image is built: a first worker would pin the same versions.
            self.library = self._open(MemoryLoraRegistry())
            self.adapters = list(self.catalog.loras)
            click.secho("Redis does not answer: configured adapters only", fg="yellow", err=True)

    def adapter(self, name: str) -> Adapter:
        """The version that the next job gets of an id, or of a reference such as hf:owner/name.

        Raises: ConfigError for an id of nothing, RequestError, LoraFetchFailed.
        """
        if record := self.library.find(name, OPERATOR):
            return self.library.pin(record)
        if not any(mark in name for mark in ":/"):
            known = listed(name, [*self.catalog.names, *self.adapters])
            raise ConfigError(f"no base or adapter is called {name!r}; known are {known}")
        resolver = Resolver(self._settings, self._objects)
        return resolver.resolve(
            name, parse(name), None, Trust.CONFIGURED, lambda card, where: None
        ).adapter

    def _open(self, registry: LoraRegistry) -> Library:
        return Library(self._settings, self.catalog, registry, self._objects)
