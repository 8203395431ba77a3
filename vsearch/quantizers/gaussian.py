"""The optimal uniform quantizer of a Gaussian variable, for 0 to 8 bits.

Source: J. Max, "Quantizing for minimum distortion" (1960), table of uniform quantizers; the values for 6 to 8 bits were
computed by the same minimization, numerically.
"""

from __future__ import annotations

import numpy as np

MAX_BITS = 8

#: Grid step for a standard normal variable, by bits (0 bits: no grid).
STEP = np.array([0.0, 1.59577, 0.99569, 0.58602, 0.33520, 0.18814, 0.10406, 0.05687, 0.03076])

#: Mean squared quantization error of a standard normal variable, by bits.
ERROR = np.array([1.0, 0.363380, 0.118846, 0.037440, 0.011543, 0.0034952, 0.0010400, 0.00030433, 0.000087686])
