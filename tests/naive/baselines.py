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
