"""How kernels are compiled.

Kernels only read and write the arrays they are given: nothing is allocated, so no reference is counted (``_nrt``), and
division follows IEEE instead of raising. That also lets them be linked without Numba's runtime.
"""

from __future__ import annotations

import numba as nb

#: A kernel that is called from Python.
kernel = nb.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)

#: A piece of a kernel, always merged into its caller: a call would push every array's seven fields.
inlined = nb.njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)

#: A kernel, or a piece, whose float sums may be taken in any order.
summing = nb.njit(
    cache=True, nogil=True, error_model="numpy", _nrt=False, fastmath={"reassoc", "contract", "nsz"}
)
inlined_summing = nb.njit(
    cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True, fastmath={"reassoc", "contract", "nsz"}
)
