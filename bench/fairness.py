"""What one API key's flood costs the others, in simulated time."""

from collections.abc import Sequence

from bench.comparison import OURS
from bench.demand import BASE, flood
from bench.policies import FIFO, Policy
from bench.report import Part, at_most, spread
from bench.simulation import A10G, H200, Costs, Simulation

FLOOD = 1000
ADAPTERS = 10
GUESTS = 20
#: A guest comes in each of so many service times.
EVERY = 20
#: What the issue asks: service times that a key's jobs delay another key's first by.
MOST_DELAY = 2
COLUMNS = ("costs", "workers", "policy", "guests' wait ÷ service time", "swaps of all")


def waits(
    costs: Costs, policy: Policy, workers: int, jobs: int, seed: int
) -> tuple[Sequence[float], int]:
    """The wait of each guest in service times, one with a swap each, and how many swaps there were.

    Guests come while the flood is worked off, so somebody runs whenever one comes.
    """
    service_ms = costs.job_ms + costs.swap_ms
    every_ms = EVERY * service_ms // workers
    demand = flood(jobs, ADAPTERS, GUESTS, every_ms, seed)
    simulation = Simulation(policy, costs, [BASE] * workers)
    runs = simulation.run(demand).runs
    came = {arrival.at_ms for arrival in demand if arrival.owner.startswith("guest")}
    guests = [run for run in runs if run.submitted_ms in came]
    assert len(guests) == GUESTS
    return [1000 * run.wait_s / service_ms for run in guests], sum(run.swap_ms > 0 for run in runs)


def compare(seeds: int, jobs: int = FLOOD) -> Part:
    """One worker and two, in order and ours, on a flood of so many jobs."""
    rows, worst = [], 0.0
    for costs in (H200, A10G):
        for workers in (1, 2):
            for policy in (FIFO, OURS):
                seen = [waits(costs, policy, workers, jobs, seed) for seed in range(seeds)]
                delays = [delay for found, _ in seen for delay in found]
                swaps = [swaps for _, swaps in seen]
                rows.append(
                    (costs.name, str(workers), policy.name, spread(delays, 1), spread(swaps))
                )
                if policy is OURS:
                    worst = max(worst, *delays)
    title = (
        f"Fair share: a key floods the queue with {jobs:,} jobs, {GUESTS} other keys submit one "
        f"each meanwhile, {seeds} seeds: median (least–most)"
    )
    goal = at_most(
        "service times that a flood delays another key's first job", round(worst, 2), MOST_DELAY
    )
    return Part(title, COLUMNS, rows, {"seeds": seeds, "worst": round(worst, 3)}, [goal])
