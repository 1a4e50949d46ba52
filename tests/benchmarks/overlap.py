"""The overlapping area of two distributions, as the benchmarks' figures named oa have it since the first."""

from __future__ import annotations

import numpy as np
from scipy.stats import gaussian_kde

POINTS = 3000


def overlapping_area(values, others):
    """How alike two samples are distributed: the area under the lower of their two densities, in [0, 1].

    Parameters
    ----------
    values, others : float (N,) and (M,); densities are Gaussian kernel estimates with Scott's bandwidth
        (Yang & Lerch 2020). Samples without any spread count as spread by a thousandth of the others' range
    """
    values, others = (np.asarray(sample, float) for sample in (values, others))
    both = np.concatenate([values, others])
    width = float(np.ptp(both))
    if width == 0:
        return 1.0
    grid = np.linspace(both.min() - width, both.max() + width, POINTS)
    jitter = np.linspace(-1, 1, 7) * width / 1000
    samples = [sample if np.ptp(sample) > width / 1000 else sample.mean() + jitter for sample in (values, others)]
    lower = np.minimum(*(gaussian_kde(sample)(grid) for sample in samples))
    return float(np.trapezoid(lower, grid))
