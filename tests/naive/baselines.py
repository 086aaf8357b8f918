"""Joint whitening and nearest neighbours as their sentences say it, window by window in float64."""

from __future__ import annotations

import numpy as np


def normalise(window, fit_rows):
    mean, sd = fit_rows.mean(axis=0), fit_rows.std(axis=0)
    sd = np.maximum(sd, 0.001 * (abs(mean) + 1))
    return np.clip((window - mean) / sd, -20, 20)


def windows(rows, length):
    return [rows[at : at + length] for at in range(len(rows) - length + 1)]


def whitening(window, fit_rows):
    """Return the Mahalanobis distance of a window, (W, C), and each channel's share of its square."""
    fit_rows, window = fit_rows.astype(float), window.astype(float)
    channels = window.shape[1]
    k = round(len(window) / channels**0.5)
    known = np.array([normalise(one, fit_rows).ravel() for one in windows(fit_rows, k)])
    values, vectors = np.linalg.eigh(np.cov(known.T, bias=True))
    values = np.maximum(values, max(values.max() * 0.001, 1e-4))
    inverse = vectors @ np.diag(1 / values) @ vectors.T
    d = normalise(window[-k:], fit_rows).ravel() - known.mean(axis=0)
    shares = [sum(d[i] * (inverse[i] @ d) for i in range(c, len(d), channels)) for c in range(channels)]
    return np.sqrt(d @ inverse @ d), shares


def knn(window, memory, fit_rows):
    """Return the mean distance of a window to the three nearest rows of `memory`, normalised and flat."""
    flat = normalise(window.astype(float), fit_rows.astype(float)).ravel()
    return np.mean(sorted(np.sqrt(((flat - one) ** 2).sum()) for one in memory)[:3])


def zscore(window, fit_rows):
    """Return how many spreads the newest row of each sensor lies from its mean."""
    fit_rows, window = fit_rows.astype(float), window.astype(float)
    sd = np.maximum(fit_rows.std(axis=0), 0.001 * (abs(fit_rows.mean(axis=0)) + 1))
    return [abs(window[-1, c] - fit_rows[:, c].mean()) / sd[c] for c in range(window.shape[1])]


def ewma(window, fit_rows, forgetting=0.2):
    """Return each sensor's average in its own spreads; the variance of the average is followed row by row."""
    fit_rows, window = fit_rows.astype(float), window.astype(float)
    sd = np.maximum(fit_rows.std(axis=0), 0.001 * (abs(fit_rows.mean(axis=0)) + 1))
    found = []
    for c in range(window.shape[1]):
        average = variance = 0.0
        for value in window[:, c]:
            average = (1 - forgetting) * average + forgetting * (value - fit_rows[:, c].mean()) / sd[c]
            variance = (1 - forgetting) ** 2 * variance + forgetting**2
        found.append(abs(average) / variance**0.5)
    return found


def squared_error(vector, known, kept=0.9):
    """Return each coordinate's squared error when a vector is rebuilt from the principal components of known ones."""
    centre = known.mean(axis=0)
    _, sizes, directions = np.linalg.svd(known - centre, full_matrices=False)
    share = np.cumsum(sizes**2) / np.sum(sizes**2)
    basis = directions[: next(k for k, value in enumerate(share) if value >= kept) + 1]
    rebuilt = sum((direction @ (vector - centre)) * direction for direction in basis)
    return (vector - centre - rebuilt) ** 2


def sub_pca(window, fit_rows):
    fit_rows, window = fit_rows.astype(float), window.astype(float)
    z, rows = normalise(window, fit_rows), normalise(fit_rows, fit_rows)
    return [squared_error(z[:, c], np.array(windows(rows[:, c], len(window)))).sum() for c in range(window.shape[1])]


def joint_pca(window, fit_rows):
    fit_rows, window = fit_rows.astype(float), window.astype(float)
    channels = window.shape[1]
    k = round(len(window) / channels**0.5)
    known = np.array([one.ravel() for one in windows(normalise(fit_rows, fit_rows), k)])
    errors = squared_error(normalise(window[-k:], fit_rows).ravel(), known)
    return [errors[c::channels].sum() for c in range(channels)]


def kmeans(window, centres, fit_rows):
    """Return the distance to the nearest centre."""
    flat = normalise(window.astype(float), fit_rows.astype(float)).ravel()
    return min(np.sqrt(((flat - one) ** 2).sum()) for one in centres)


def shape(values):
    moved = values - values.mean()
    return moved / values.std() if values.std() > 1e-9 else 0 * moved


def matrix_profile(window, fit_rows):
    """Return each sensor's distance to the nearest of all windows of the fitting rows, all z-normalised."""
    fit_rows, window = fit_rows.astype(float), window.astype(float)
    return [
        min(np.linalg.norm(shape(window[:, c]) - shape(one)) for one in windows(fit_rows[:, c], len(window)))
        for c in range(window.shape[1])
    ]


def isolation(flat, trees, sample):
    """Return 2^(usual depth - mean depth), walking each tree from its root."""
    depths = []
    for tree in trees:
        at = 0
        while tree.feature[at] >= 0:
            at = tree.left[at] if flat[tree.feature[at]] <= tree.cut[at] else tree.right[at]
        depths.append(tree.depth[at])
    harmonic = np.log(sample - 1) + 0.5772156649  # as the paper has it
    return 2 ** (2 * harmonic - 2 * (sample - 1) / sample - np.mean(depths))
