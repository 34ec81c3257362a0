"""Label shift: how much more often a class is seen on the target than on the source.

An adversary on predictions makes their mix alike on both domains, and so moves labels where the
true mixes differ. A cure needs w_c = P_t(c) / P_s(c), and the target has no labels. Here are two
estimates from predictions alone. Both assume that a class looks alike on both domains (p(x | c) is
shared), which does not hold between a simulator and photographs.

- Black-box shift estimation (Lipton et al. 2018, "Detecting and Correcting for Label Shift with
  Black Box Predictors"), with the ridge of Azizzadenesheli et al. 2019: what a classifier confuses
  on the source, it confuses alike on the target.
- Expectation maximisation (Saerens et al. 2002, "Adjusting the Outputs of a Classifier to New a
  Priori Probabilities"): the mix under which the predictions' mean is the mix itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Vector = NDArray[np.float64]


def ratios_by_confusion(joint: Vector, target: Vector, ridge: float = 0.0) -> Vector:
    """Return w (C,) from what is confused on the source.

    Solves joint @ w = target, w >= 0, with ``ridge`` times |w - 1|^2 added to the squared error.

    Args:
        joint: (C, C); [i, j] is the mean of p_i over the source's pixels, those of class j counted
            only: column sums are the source's shares.
        target: (C,) the mean of p on the target.
        ridge: pulls w towards 1, no shift; 0 trusts the predictions alone.

    Raises:
        ValueError: shapes that do not fit.
    """
    classes = len(target)
    if joint.shape != (classes, classes):
        raise ValueError(f"joint is {joint.shape}, target has {classes} classes")
    root = np.sqrt(ridge)
    system = np.vstack([joint, root * np.eye(classes)])
    ratios, _ = nnls(system, np.concatenate([target, root * np.ones(classes)]))
    return np.asarray(ratios)


def ratios_by_em(p: Vector, source: Vector, steps: int = 500, tolerance: float = 1e-7) -> Vector:
    """Return w (C,) by expectation maximisation.

    Args:
        p: (N, C) predictions for target pixels, of a network trained on the source's mix.
        source: (C,) the source's shares.
        steps: at most so many.
        tolerance: stop when no share moves further.

    Returns:
        w; 1 for a class that the source does not have.
    """
    known = source > 0
    weighed = p[:, known] / source[known]
    shares = source[known] / source[known].sum()
    for _ in range(steps):
        posterior = weighed * shares
        posterior /= posterior.sum(axis=1, keepdims=True)
        moved, shares = shares, posterior.mean(axis=0)
        if np.abs(moved - shares).max() < tolerance:
            break
    ratios = np.ones(len(source))
    ratios[known] = shares / source[known]
    return ratios
