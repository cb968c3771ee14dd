"""The order in which a store in memory shows its waiting jobs: in lines, one of each API key."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lorajobs.place import Place
from lorajobs.snapshot import Snapshot, Turn, WaitingGroup, WaitingJob
from lorajobs.store import QueueRules
from lorajobs.testing.entry import Entry


@dataclass
class MemoryQueue:
    """Who had a turn and who has what applied; the jobs that wait are given to each call."""

    rules: QueueRules
    clock_ms: Callable[[], int]
    #: by model, when a job of each key was claimed last
    _served: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    #: by model, the keys that had their turn in this round
    _had: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    #: what each worker took last: model and group
    _loaded: dict[str, tuple[str, str]] = field(default_factory=dict)

    def take(self, entry: Entry, worker: str) -> None:
        """Counts a claim as its key's turn; who takes a second one begins a new round."""
        spec = entry.job.spec
        if spec.owner in self._had[spec.model]:
            self._had[spec.model].clear()
        self._had[spec.model].add(spec.owner)
        self._served[spec.model][spec.owner] = 1000 * self.clock_ms()
        self._loaded[worker] = (spec.model, spec.group)

    def snapshot(
        self,
        model: str,
        waiting: Sequence[Entry],
        loaded: str,
        others: Collection[str],
        limit: int,
    ) -> Snapshot:
        """What a worker sees that has the group `loaded` applied, beside the others that live."""
        elsewhere = {
            group for name, (m, group) in self._loaded.items() if name in others and m == model
        }
        sizes = Counter(entry.job.spec.group for entry in waiting)
        turns = []
        for owner, line in list(self._lines(model, waiting).items())[:limit]:
            heads: dict[str, WaitingJob] = {}
            for entry in line:
                job = WaitingJob(entry.job.id, self._score_us(entry), entry.job.spec.group)
                heads.setdefault(job.group, job)
            groups = [WaitingGroup(head, sizes[g], g in elsewhere) for g, head in heads.items()]
            since_us, had = self._since_us(model, owner, line), owner in self._had[model]
            turns.append(Turn(owner, since_us, had, heads.get(loaded), groups[:limit]))
        return Snapshot(self.clock_ms() * 1000, turns)

    def place(
        self, entry: Entry, waiting: Sequence[Entry], window_us: int, service_s: float | None
    ) -> Place:
        """Where one of the waiting jobs stands."""
        lines = self._lines(entry.job.spec.model, waiting)
        line = lines[entry.job.spec.owner]
        rank, others, keys = line.index(entry), len(waiting) - len(line), len(lines) - 1
        score_us = self._score_us(entry)
        own = sum(self._score_us(other) <= score_us + window_us for other in line) - 1
        # Later jobs of its own key may bring others more turns, as long as they come within the
        # window; and while a low priority holds it back, all others may pass.
        is_open = score_us + window_us > 1000 * self.clock_ms()
        passing = others if is_open else keys * (own + 2)
        before = keys * rank + list(lines).index(entry.job.spec.owner)
        return Place(rank + min(others, before), own + min(others, passing), False, service_s)

    def _lines(self, model: str, waiting: Sequence[Entry]) -> Mapping[str, Sequence[Entry]]:
        """The waiting jobs of each key, the key that waits longest first."""
        lines: dict[str, list[Entry]] = defaultdict(list)
        for entry in waiting:
            lines[entry.job.spec.owner].append(entry)
        order = {
            owner: (self._since_us(model, owner, line), owner) for owner, line in lines.items()
        }
        return {owner: lines[owner] for owner in sorted(lines, key=order.__getitem__)}

    def _since_us(self, model: str, owner: str, line: Sequence[Entry]) -> int:
        return max(self._score_us(line[0]), self._served[model].get(owner, 0))

    def _score_us(self, entry: Entry) -> int:
        return entry.score_us(self.rules)
