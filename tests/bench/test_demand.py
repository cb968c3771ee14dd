"""The traffic is what it says it is."""

from collections import Counter

import pytest

from bench.demand import BASE, OTHER_BASE, Catalogue, burst, poisson, zipf


def test_zipf() -> None:
    shares = zipf(10)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(10 * shares[9])


def test_a_burst_comes_at_once_and_by_popularity() -> None:
    jobs = burst(5_000, 10, seed=1)
    assert [job.at_ms for job in jobs] == list(range(5_000))
    counts = Counter(job.adapter for job in jobs)
    assert len(counts) == 10
    assert counts["lora-0000"] / 5_000 == pytest.approx(zipf(10)[0], abs=0.03)


def test_poisson_has_its_rate() -> None:
    jobs = poisson(5_000, 10, per_s=2.0, seed=1)
    assert jobs[-1].at_ms / 1000 == pytest.approx(2_500, rel=0.05)
    assert jobs == poisson(5_000, 10, per_s=2.0, seed=1) != poisson(5_000, 10, 2.0, seed=2)


def test_each_span_names_ten_adapters_of_the_catalogue() -> None:
    jobs = list(Catalogue(40, seed=1).arrivals(hours=2))
    spans: dict[int, set[str]] = {}
    for job in jobs:
        spans.setdefault(job.at_ms // 120_000, set()).add(job.adapter)
    assert {len(names) for names in spans.values()} == {Catalogue.DISTINCT}
    assert len(spans) == 60
    assert len(jobs) / 60 == pytest.approx(40, rel=0.05)
    assert jobs == sorted(jobs, key=lambda job: job.at_ms)
    assert len({job.adapter for job in jobs}) > 100


def test_few_jobs_are_all_on_different_adapters() -> None:
    jobs = list(Catalogue(3, seed=1).arrivals(hours=0.5))
    spans = Counter((job.at_ms // 120_000, job.adapter) for job in jobs)
    assert set(spans.values()) == {1}


def test_92_in_100_are_of_one_base() -> None:
    bases = Counter(Catalogue.base_of(entry) for entry in range(Catalogue.ENTRIES))
    assert bases == {BASE: 2_300, OTHER_BASE: 200}
    jobs = Counter(job.model for job in Catalogue(60, seed=1).arrivals(hours=8))
    assert jobs[BASE] / jobs.total() == pytest.approx(0.92, abs=0.02)
