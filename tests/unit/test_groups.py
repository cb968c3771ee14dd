"""The names of sets of adapters."""

from lorajobs.groups import group_of, key_of, shas_of


def test_another_embedding_is_another_group() -> None:
    keys = [key_of("a", None), key_of("a", "x"), key_of("a", "y"), key_of("b", "x")]
    assert len({group_of([(key, 1.0)]) for key in keys}) == 4


def test_the_order_has_no_meaning_and_the_scale_has() -> None:
    one, other = (key_of("a", "x"), 1.0), (key_of("b", None), 0.5)
    assert group_of([one, other]) == group_of([other, one])
    assert group_of([one]) != group_of([(one[0], 0.5)])


def test_every_file_is_in_the_name() -> None:
    assert shas_of(group_of([(key_of("b", None), 0.5), (key_of("a", "x"), 1.0)])) == ["a", "x", "b"]
    assert shas_of(group_of([])) == []
