"""What is told of a worker: pictures a second, how busy its GPU was, what lay between two jobs."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from bench.chart import Panel, Series
from bench.report import Goal, Part, at_least, at_most
from bench.timetable import quantile
from bench.turns import KINDS, Gap, Span, Turn, busy_s, gaps
from lorajobs.client import Document

#: What a job's adapter is to the worker: on the base, used before, not yet used.
NEEDS = ("loaded", "host", "new")
#: From the claim to the picture in memory.
WORK = ("fetch_s", "swap_s", "generate_s")
LEAST_RATIO, LEAST_BUSY, MOST_GAP_MS = 2.8, 0.97, 20
#: Of several GPUs' pictures a second, a GPU; and of their swaps beside one's.
LEAST_SCALING, MOST_SWAPS = 0.975, 1.2
MOST_ADDED_MS = {"host": 10, "disk": 100}
MOST_BEYOND_MS, MOST_START_S = 100, 15


class Row(NamedTuple):
    """One way at one size."""

    way: str
    pixels: int
    begin: float
    end: float
    #: of each device
    lanes: Sequence[Sequence[Turn]]
    #: seconds of each change of adapter
    swaps: Sequence[float]
    #: nvidia-smi's, None without it
    smi: float | None
    #: where the pristine weights lie, empty without any
    placement: str = ""
    #: of a device's memory, 0 for all of it
    limit_gb: float = 0

    @property
    def name(self) -> str:
        """Of its figures."""
        gpus = f"_{len(self.lanes)}gpus" if len(self.lanes) > 1 else ""
        limit = f"_{self.limit_gb:g}gb" if self.limit_gb else ""
        return f"{self.way}_{self.pixels}{gpus}{limit}"

    @property
    def turns(self) -> Sequence[Turn]:
        """Of all devices."""
        return [turn for lane in self.lanes for turn in lane]

    @property
    def per_s(self) -> float:
        """Pictures a second."""
        return len(self.turns) / (self.end - self.begin)

    @property
    def busy(self) -> Sequence[float]:
        """The share of its time in which each device did some part of a picture."""
        return [self._share(turn.whole() for turn in lane) for lane in self.lanes]

    @property
    def calls(self) -> float:
        """The same without what lies between two steps: the scheduler, the cancel check."""
        return _mean([self._share(turn.spans for turn in lane) for lane in self.lanes])

    def gap_ms(self, share: float) -> float:
        """A quantile of the time between the work on two pictures of one device."""
        found = [gap.whole for lane in self.lanes for gap in gaps(lane)]
        return 1000 * quantile(found, share) if found else 0.0

    def part_ms(self, kind: str) -> float:
        """The median of one kind of work for a picture that had any."""
        found = [s for turn in self.turns if (s := turn.seconds(kind))]
        return 1000 * quantile(found, 0.5) if found else 0.0

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "gpus": len(self.lanes),
            "jobs": len(self.turns),
            "images_per_s": round(self.per_s, 4),
            "busy": round(_mean(self.busy), 4),
            "busy_each": [round(share, 4) for share in self.busy],
            "busy_calls": round(self.calls, 4),
            "nvidia_smi": self.smi and round(self.smi, 4),
            "swaps": len(self.swaps),
            "swap_p50_ms": round(1000 * quantile(self.swaps, 0.5), 2) if self.swaps else None,
            "gap_p50_ms": round(self.gap_ms(0.5), 2),
            "gap_p95_ms": round(self.gap_ms(0.95), 2),
            **{f"{kind}_ms": round(self.part_ms(kind), 2) for kind in KINDS},
            "placement": self.placement,
            "reserved_gb": max(turn.reserved_gb for turn in self.turns),
        }

    def _share(self, turns: Iterable[Sequence[Span]]) -> float:
        return busy_s(span for spans in turns for span in spans) / (self.end - self.begin)


class Answer(NamedTuple):
    """One job on its own: what it needed, seconds from submit to claim and URL, its document."""

    need: str
    claimed: float
    took: float
    job: Document

    @property
    def adapter(self) -> str:
        """Its only one."""
        return str(self.job["input"]["loras"][0]["id"])

    @property
    def worked(self) -> float:
        """Seconds from its submit to the picture in memory, without waits of the worker's."""
        return self.claimed + sum(float(self.job["metrics"][name]) for name in WORK)


def throughput(rows: Sequence[Row]) -> Part:
    """Every way beside the usual one of its size."""
    cells, figures = [], {}
    usual = {row.pixels: row.per_s for row in rows if row.way == "usual"}
    for row in rows:
        f = figures[row.name] = row.figures()
        if row.pixels in usual:
            f["ratio"] = round(row.per_s / usual[row.pixels], 3)
        busy = ", ".join(map(_percent, row.busy))
        head = (row.way, *map(str, (row.pixels, len(row.lanes), f["jobs"])), f"{row.per_s:.3f}")
        shares = (str(f.get("ratio", "")), busy, _percent(row.calls), _percent(row.smi))
        ends = ("swaps", "swap_p50_ms", "gap_p50_ms", "gap_p95_ms", *(f"{k}_ms" for k in KINDS))
        memory = (row.placement, _short(f["reserved_gb"] or None))
        cells.append((*head, *shares, *(_short(f[name]) for name in ends), *memory))
    columns = (
        *("way", "px", "GPUs", "jobs", "images/s", "÷ usual", "busy", "in calls", "nvidia-smi"),
        *("swaps", "swap ms", "gap p50 ms", "p95", *(f"{kind} ms" for kind in KINDS)),
        *("W0", "GB"),
    )
    return Part("Bursts by Zipf", columns, cells, figures)


def scaling(rows: Sequence[Row]) -> Part:
    """What each number of GPUs brings beside the first that was measured at the size."""
    cells, figures, met = [], {}, list[Goal]()
    first: dict[int, Row] = {}
    for row in rows:
        one = first.setdefault(row.pixels, row)
        more, speedup = len(row.lanes) / len(one.lanes), row.per_s / one.per_s
        f = figures[f"scaling_{row.name}"] = {
            "images_per_s": round(row.per_s, 4),
            "speedup": round(speedup, 3),
            "swaps": len(row.swaps),
            "pictures_each": [len(lane) for lane in row.lanes],
        }
        cells.append((str(len(row.lanes)), str(row.pixels), *map(str, f.values())))
        if row is not one:
            what = f"{len(row.lanes)} GPUs, {row.pixels} px:"
            met.append(at_least(f"{what} images/s ÷", round(speedup, 3), LEAST_SCALING * more))
            met.append(at_most(f"{what} swaps", len(row.swaps), MOST_SWAPS * len(one.swaps)))
    columns = ("GPUs", "px", "images/s", "÷ the fewest", "swaps", "pictures each")
    return Part("The same burst on several GPUs", columns, cells, figures, met)


def between(row: Row, needs: Mapping[int, str], claimed: Mapping[int, float]) -> Part:
    """What lay between two jobs of a device, by what the second one needed, and when it came.

    Both by the jobs' seeds.
    """
    found: defaultdict[str, list[Gap]] = defaultdict(list)
    pairs = [pair for lane in row.lanes for pair in pairwise(lane)]
    made = {turn.seed: before.marks["made"] for before, turn in pairs}
    for gap in (gap for lane in row.lanes for gap in gaps(lane)):
        found[needs[gap.seed]].append(gap)
    cells, figures = [], {}
    for need in (need for need in NEEDS if need in found):
        some = found[need]
        f = figures[f"gap_{row.name.removeprefix('ours_')}_{need}"] = {
            "count": len(some),
            "p50_ms": _ms([gap.whole for gap in some], 0.5),
            "p95_ms": _ms([gap.whole for gap in some], 0.95),
            "out_ms": _ms([gap.out for gap in some], 0.5),
            "to_claim_ms": _ms([claimed[gap.seed] - made[gap.seed] for gap in some], 0.5),
            "handover_ms": _ms([gap.handover for gap in some], 0.5),
            "before_ms": _ms([gap.before for gap in some], 0.5),
        }
        cells.append((need, *map(str, f.values())))
    return Part(
        f"Ours, {row.pixels} px: from a job's last work on the device to the next one's first",
        (
            *("adapter", "jobs", "p50 ms", "p95 ms", "bytes out", "handover: to the claim"),
            *("all of it", "until first work"),
        ),
        cells,
        figures,
    )


def answers(found: Sequence[Answer], bring: Callable[[str], float]) -> Part:
    """From submit to URL on a quiet stack; `bring` copies and hashes an adapter's file, seconds."""
    cells: list[Sequence[str]] = []
    figures: dict[str, Any] = {}
    for need in dict.fromkeys(answer.need for answer in found):
        some = [answer for answer in found if answer.need == need]
        f = figures[f"answer_{need.replace(' ', '_')}"] = {
            "count": len(some),
            "p50_s": round(quantile([a.took for a in some], 0.5), 4),
            "p95_s": round(quantile([a.took for a in some], 0.95), 4),
            "claim_s": round(quantile([a.claimed for a in some], 0.5), 4),
            **{name: _metric(some, name) for name in ("base_s", "fetch_s", "swap_s", "generate_s")},
        }
        cells.append((need, *map(str, f.values())))
    if unseen := [answer for answer in found if answer.need == "unseen"]:
        brought = [bring(answer.adapter) for answer in unseen]
        usual = quantile([a.worked for a in found if a.need == "loaded"], 0.5)
        beyond = [a.worked - usual - own for a, own in zip(unseen, brought, strict=True)]
        figures["answer_unseen"] |= {
            "copy_and_hash_p50_ms": _ms(brought, 0.5),
            "beyond_p50_ms": _ms(beyond, 0.5),
        }
    parts = ("to the claim s", "base s", "fetch s", "swap s", "generate s")
    columns = ("adapter", "jobs", "p50 s", "p95 s", *parts)
    return Part("One job at a time, from submit to URL", columns, cells, figures)


def goals(figures: Mapping[str, Any], pixels: int) -> Sequence[Goal]:
    """Those of one H200 that were measured, at the largest size."""
    found = []
    if ours := figures.get(f"ours_{pixels}"):
        found.append(at_least("GPU busy, share", ours["busy"], LEAST_BUSY))
        if "ratio" in ours:
            found.append(at_least("images/s ÷ the usual way's", ours["ratio"], LEAST_RATIO))
    for need in ("loaded", "host"):
        if gap := figures.get(f"gap_{pixels}_{need}"):
            what = f"idle between two jobs, adapter {need}, p50, ms"
            found.append(at_most(what, gap["p50_ms"], MOST_GAP_MS))
    for need, most in MOST_ADDED_MS.items():
        if answer := figures.get(f"answer_{need}"):
            # Not of the whole: how long a picture takes to compress differs by more than that.
            added = _worked(answer) - _worked(figures["answer_loaded"])
            what = f"an adapter adds in its worker, {need}, p50, ms"
            found.append(at_most(what, round(1000 * added, 1), most))
    if unseen := figures.get("answer_unseen"):
        what = "an unseen adapter adds until its picture, beyond copying and hashing it, p50, ms"
        found.append(at_most(what, unseen["beyond_p50_ms"], MOST_BEYOND_MS))
    if first := figures.get("answer_first_of_the_next"):
        took = round(figures["starts"]["warm_again_s"] + first["p50_s"], 1)
        found.append(at_most("a worker's start to its first picture, s", took, MOST_START_S))
    return found


def _worked(answer: Mapping[str, float]) -> float:
    """From the claim to the picture in memory."""
    return sum(answer[name] for name in WORK)


def panels(figures: Mapping[str, Any]) -> Sequence[Panel]:
    """What can be drawn of it."""
    rows = {name: f for name, f in figures.items() if "busy" in f}
    kinds = {name: f for name, f in figures.items() if name.startswith("answer_")}
    drawn = [
        _panel("Pictures a second", rows, images="images_per_s"),
        _panel("Share of the time in which the GPU worked", rows, work="busy", calls="busy_calls"),
        _panel("Between two jobs, ms", rows, p50="gap_p50_ms", p95="gap_p95_ms"),
    ]
    if kinds:
        drawn.append(_panel("Submit to URL, s", kinds, p50="p50_s", p95="p95_s"))
    return drawn


def _panel(title: str, rows: Mapping[str, Mapping[str, Any]], **series: str) -> Panel:
    places = [name.removeprefix("answer_").replace("_", " ") for name in rows]
    drawn = [Series(name, [row[field] for row in rows.values()]) for name, field in series.items()]
    return Panel(title, "", places, drawn)


def _metric(some: Sequence[Answer], name: str) -> float:
    return float(quantile([answer.job["metrics"][name] or 0.0 for answer in some], 0.5))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _ms(seconds: Sequence[float], share: float) -> float:
    return round(1000 * quantile(seconds, share), 2)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
