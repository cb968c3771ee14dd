"""A worker's strip, put together from its marks."""

import pytest

from lorajobs.timeline import Mark, Part, State, timeline_of

GROUP = "demo " + "f" * 64 + "@0.8"
WHOLE = (
    Mark(1000, "claimed", "j1", GROUP),
    Mark(1002, "loading_adapter", "j1"),
    Mark(1042, "denoising", "j1"),
    Mark(2000, "decoding", "j1"),
    Mark(2100, "uploading", "j1"),
    Mark(2300, "succeeded", "j1", "0.03 0.01"),
)


def parts(*marks: Mark) -> list[tuple[str, int, int | None]]:
    (run,) = timeline_of(marks).runs
    return [(part.kind, part.since_ms, part.until_ms) for part in run.parts]


def test_an_attempt_is_divided_by_what_it_measured() -> None:
    assert parts(*WHOLE) == [
        # 42 ms from the claim, three quarters of them to fetch.
        ("fetch", 1000, 1032),
        ("swap", 1032, 1042),
        ("generate", 1042, 2100),
        ("upload", 2100, 2300),
    ]
    (run,) = timeline_of(WHOLE).runs
    assert (run.job_id, run.model, run.group, run.ended) == (
        "j1",
        "demo",
        GROUP.split(" ")[1],
        "succeeded",
    )


@pytest.mark.parametrize("group", ["", "f" * 64 + "@0.8"])
def test_a_base_whose_id_has_a_space(group: str) -> None:
    marks = [Mark(1000, "claimed", "j1", f"sdxl turbo {group}"), *WHOLE[1:]]
    (run,) = timeline_of(marks).runs
    assert (run.model, run.group) == ("sdxl turbo", group)


def test_what_lasts_has_no_end_and_is_not_divided_yet() -> None:
    assert parts(*WHOLE[:2]) == [("adapters", 1000, None)]
    assert parts(*WHOLE[:4]) == [("adapters", 1000, 1042), ("generate", 1042, None)]
    assert timeline_of(WHOLE[:4]).runs[0].ended is None


def test_a_change_of_the_base_is_a_part() -> None:
    marks = [WHOLE[0], Mark(1001, "loading_base", "j1"), *WHOLE[1:]]
    assert parts(*marks)[:3] == [
        ("adapters", 1000, 1001),
        ("base", 1001, 1002),
        ("fetch", 1002, 1032),
    ]


@pytest.mark.parametrize(("told", "kinds"), [("0 0", ["adapters"]), ("0.2 0", ["fetch"])])
def test_what_took_no_time_is_no_part(told: str, kinds: list[str]) -> None:
    marks = [*WHOLE[:-1], Mark(2300, "failed", "j1", told)]
    assert [kind for kind, _, _ in parts(*marks)] == [*kinds, "generate", "upload"]


def test_an_attempt_that_was_put_back_ended_there() -> None:
    marks = [*WHOLE[:3], Mark(9000, "queued", "j1")]
    assert parts(*marks)[-1] == ("generate", 1042, 9000)
    assert timeline_of(marks).runs[0].ended == "queued"


def test_two_jobs_at_once_are_told_apart() -> None:
    second = [Mark(2110, "claimed", "j2", "demo "), Mark(2111, "denoising", "j2")]
    first, other = timeline_of([*WHOLE[:5], *second, WHOLE[5]]).runs
    assert (first.job_id, first.parts[-1].until_ms) == ("j1", 2300)
    assert (other.job_id, other.group, other.parts[-1].until_ms) == ("j2", "", None)


def test_a_second_attempt_on_the_same_worker_is_another_run() -> None:
    again = [mark._replace(at_ms=mark.at_ms + 5000) for mark in WHOLE]
    runs = timeline_of([*WHOLE[:3], Mark(1500, "queued", "j1"), *again]).runs
    assert [run.ended for run in runs] == ["queued", "succeeded"]
    # Nobody told the end of the first: nothing is known of it.
    assert [run.ended for run in timeline_of([*WHOLE[:3], *again]).runs] == ["succeeded"]


def test_an_attempt_whose_beginning_is_forgotten_is_shown_without_it() -> None:
    (run,) = timeline_of(WHOLE[3:]).runs
    assert (run.model, run.group) == ("", "")
    assert run.parts[0] == Part(kind="generate", since_ms=2000, until_ms=2100)
    assert not timeline_of(WHOLE[5:]).runs


def test_what_ended_long_ago_is_left_out_but_for_the_state_it_left() -> None:
    own = [Mark(10, "loading", "", "demo"), Mark(500, "warm", "", "demo"), Mark(9000, "left")]
    late = [Mark(8000, "claimed", "j2", "demo ")]
    seen = timeline_of([*own[:2], *WHOLE, *late, own[2]], since_ms=5000)
    assert [run.job_id for run in seen.runs] == ["j2"]
    assert seen.states == (
        State(state="warm", model="demo", since_ms=500),
        State(state="left", model="", since_ms=9000),
    )
    assert timeline_of([]) == timeline_of(WHOLE, since_ms=5000)


def test_a_mark_is_read_as_the_store_writes_it() -> None:
    assert Mark.parse(7, "claimed j1 demo a@1,b@2") == Mark(7, "claimed", "j1", "demo a@1,b@2")
    assert Mark.parse(7, "warm  some base") == Mark(7, "warm", "", "some base")
