"""A rack whose adapters may bring tokens of their own (pivotal tuning)."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager

from lorajobs.engine.base import LocalAdapter
from lorajobs.engine.placement import Placement
from lorajobs.engine.rack import Rack
from lorajobs.engine.vocabulary import Vocabulary
from lorajobs.jobs import AppliedLora


class TokenRack:
    """Implements `Rack`: another one for the weights, and a vocabulary for the tokens."""

    def __init__(self, rack: Rack, vocabulary: Vocabulary) -> None:
        """Takes a rack without active adapters."""
        self.weights = rack
        self._vocabulary = vocabulary
        #: the keys of the adapters whose tokens are there
        self._active: tuple[str, ...] = ()

    @property
    def placement(self) -> Placement:
        """Where the pristine weights lie."""
        return self.weights.placement

    @property
    def applied(self) -> tuple[AppliedLora, ...]:
        """The adapters that are active."""
        return self.weights.applied

    def preload(self, adapters: Sequence[LocalAdapter]) -> None:
        """Makes adapters quick to activate; what is active stays so.

        Raises: LoraRefused, LoraNotApplied; no adapter is active then.
        """
        with self._bare_on_error():
            for adapter in adapters:
                self._vocabulary.read(adapter)
            self.weights.preload(adapters)

    def stage(self, adapters: Sequence[LocalAdapter]) -> None:
        """Makes the weights of adapters quick to activate; their tokens are small.

        Raises: LoraRefused, LoraNotApplied; what is active stays so.
        """
        self.weights.stage(adapters)

    def activate(self, adapters: Sequence[LocalAdapter]) -> tuple[AppliedLora, ...]:
        """Makes exactly these adapters active, weights and tokens; nothing is done if they are.

        Raises: LoraRefused, LoraNotApplied; no adapter is active then.
        """
        with self._bare_on_error():
            # In an order of their own, as the one in which they are asked for has no meaning.
            bringing = sorted(
                (a for a in adapters if a.use.adapter.embeddings), key=lambda a: a.use.adapter.key
            )
            asked = tuple(a.use.adapter.key for a in bringing)
            if asked != self._active:
                self._vocabulary.set([self._vocabulary.read(adapter) for adapter in bringing])
                self._active = asked
            return self.weights.activate(adapters)

    def resident(self) -> Collection[str]:
        """The adapters that are quick to activate, by content."""
        return self.weights.resident()

    def encoders(self) -> Hashable:
        """Those of the weights, and whose tokens are there."""
        return self.weights.encoders(), self._active

    def check(self) -> None:
        """Compares a sample of the weights, and the tokens, with what they must be now.

        Raises: BaseCorrupt.
        """
        self.weights.check()
        self._vocabulary.check()

    @contextmanager
    def _bare_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._vocabulary.clear()
            self._active = ()
            self.weights.activate(())
            raise
