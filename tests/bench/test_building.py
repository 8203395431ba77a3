from __future__ import annotations

import numpy as np
import pytest

from bench.building import factory, main, make


def test_made_vectors_are_the_same_each_time_and_of_low_rank():
    base = make("5000x1000")
    np.testing.assert_array_equal(base, make("5000x1000"))
    np.testing.assert_allclose(np.linalg.norm(base, axis=1), 1, rtol=1e-5)
    values = np.linalg.svd(base, compute_uv=False)
    assert 0.98 < np.square(values[:256]).sum() / 5000 < 0.999  # the rest is noise
    assert factory(base, like=True) == "IVF78,PQ250x4fs,Refine(SQ8)"


@pytest.mark.slow
def test_a_build_of_made_vectors_is_reported(tmp_path):
    main(["--made", "3000x64", "--repetitions", "1", "--results", str(tmp_path / "results.md")])
    text = (tmp_path / "results.md").read_text()
    assert "- data: made-3000x64, 3,000 x 64" in text
    assert "IVF46,PQ16x4fs,Refine(SQ8), train and add" in text
    assert "vsearch takes" in text
