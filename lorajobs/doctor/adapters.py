"""The configured adapters: whether they can be had, and fit their base."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from lorajobs.adapters.anatomy import anatomy, require
from lorajobs.adapters.folder import Trust
from lorajobs.adapters.reference import parse
from lorajobs.adapters.resolver import Resolver
from lorajobs.catalog import Catalog, LoraEntry
from lorajobs.doctor.finding import Finding, ok, wrong
from lorajobs.document import without_secrets
from lorajobs.errors import LoraJobsError
from lorajobs.settings import Settings
from lorajobs.storage.folder import FolderStore

#: Seconds for all of them.
WITHIN_S = 60.0


def adapters(settings: Settings) -> Iterator[Finding]:
    """Looks at each source as a submit does; what that would keep goes with a folder of its own."""
    catalog = Catalog.load(settings.config)
    with tempfile.TemporaryDirectory(prefix="lorajobs-doctor-") as name:
        folder = Path(name)
        apart = settings.model_copy(update={"data_dir": folder})
        resolver = Resolver(apart, FolderStore(folder / "objects", settings.base_url, 60))
        faults = [f for e in catalog.loras.values() if (f := _fault(e, catalog, resolver))]
    yield from faults
    good = len(catalog.loras) - len(faults)
    if good:
        yield ok(
            f"{good} of {len(catalog.loras)} configured adapters can be read and fit their base"
        )


def _fault(entry: LoraEntry, catalog: Catalog, resolver: Resolver) -> Finding | None:
    # What a doctor says is pasted into reports.
    source = without_secrets(entry.source)
    way_out = f"`lorajobs check {source} --model {entry.base}` tells more"
    try:
        found = resolver.resolve(
            entry.id,
            parse(entry.source),
            entry.weight_name,
            Trust.CONFIGURED,
            lambda card, where: entry.base,
        ).adapter
        header = resolver.header(found)
        if header:
            family = resolver.family_of(catalog.require(str(entry.base)))
            require(anatomy(header), family)
    except LoraJobsError as error:
        return wrong(f"{entry.id}: {error.code}: {error.detail}", way_out)
    return None
