from __future__ import annotations

import pytest

import vsearch


def test_all_is_sorted_and_is_what_dir_shows() -> None:
    # constants in capitals, then classes, then functions, as ruff sorts them
    assert vsearch.__all__ == sorted(vsearch.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert set(dir(vsearch)) == {*vsearch.__all__, "__version__"}


@pytest.mark.parametrize("name", vsearch.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(vsearch, name)
    assert value is getattr(vsearch, name)
    assert (value.__doc__ or "").strip(), name


def test_every_error_is_public() -> None:
    from vsearch import errors

    own = {errors.VsearchError, errors.VsearchWarning}
    names = {name for name, value in vars(errors).items() if isinstance(value, type) and own & set(value.__mro__)}
    assert len(names) > 10
    assert names <= set(vsearch.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        vsearch.nonsense  # noqa: B018
