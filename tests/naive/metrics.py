"""Slow, obvious twins of training/judge/scoring.py: loops over rows, thresholds, buffers, straight from the words."""

import numpy as np


def events(anomaly):
    found, start = [], None
    for row, label in enumerate(anomaly):
        if label and start is None:
            start = row
        if not label and start is not None:
            found.append((start, row - 1))
            start = None
    if start is not None:
        found.append((start, len(anomaly) - 1))
    return found


def soft_labels(anomaly, width):
    """1 on labelled rows; beside an event sqrt(1 - distance / width) up to half the width away; sums stop at 1."""
    soft = [float(label) for label in anomaly]
    for start, end in events(anomaly):
        for row in range(len(anomaly)):
            distance = start - row if row < start else row - end
            if 0 < distance <= width // 2:
                soft[row] += (1 - distance / width) ** 0.5
    return [min(value, 1.0) for value in soft]


def spans(anomaly, width):
    """Events widened by half the width on both sides; touching ones are one."""
    wide = []
    for start, end in events(anomaly):
        low, high = start - width // 2, end + width // 2
        if wide and wide[-1][1] >= low:
            wide[-1][1] = high
        else:
            wide.append([max(low, 0), high])
    return [(low, min(high, len(anomaly) - 1)) for low, high in wide]


def vus_pr(score, anomaly, buffer, thresholds=250):
    n = len(score)
    ordered = sorted(score, reverse=True)
    ranks = [int(k) for k in np.linspace(0, n - 1, thresholds)]
    counted = spans(anomaly, buffer)
    areas = []
    for width in range(buffer + 1):
        soft, wide = soft_labels(anomaly, width), spans(anomaly, width)
        area, recall_before = 0.0, 0.0
        for rank in ranks:
            predicted = [value >= ordered[rank] for value in score]
            hit = labels = 0.0
            for low, high in counted:
                for row in range(low, high + 1):
                    hit += soft[row] * predicted[row]
                    labels += 1.0 if anomaly[row] else soft[row] * predicted[row]
            seen = sum(any(predicted[low : high + 1]) for low, high in wide)
            recall = min(hit / ((sum(anomaly) + labels) / 2), 1.0) * seen / len(wide)
            area += (recall - recall_before) * hit / sum(predicted)
            recall_before = recall
        areas.append(area)
    return sum(areas) / len(areas)


def alarms(on, anomaly, window):
    """(events, hit, true, false, normal rows, normal rows in alarm, delays)"""
    known = events(anomaly)
    onsets, latest = [], None
    for row in range(len(on)):
        if on[row] and (row == 0 or not on[row - 1]):
            if latest is None or row - latest >= window:
                onsets.append(row)
            latest = row
    true = [row for row in onsets if any(start <= row <= end + window for start, end in known)]
    delays = []
    for start, end in known:
        hits = [row for row in onsets if start <= row <= end + window]
        if hits:
            delays.append(min(hits) - start)
    normal = [row for row in range(len(on)) if not any(start <= row <= end + window for start, end in known)]
    late = sum(1 for row in normal if on[row])
    return len(known), len(delays), len(true), len(onsets) - len(true), len(normal), late, delays


def tail(on, anomaly, window):
    """(rows after an event that are judged with it and not labelled, those in alarm)"""
    after = [
        row
        for row in range(len(on))
        if not anomaly[row] and any(start <= row <= end + window for start, end in events(anomaly))
    ]
    return len(after), sum(1 for row in after if on[row])


def period(values):
    x = [float(value) for value in values[:20_000]]
    mean = sum(x) / len(x)
    x = [value - mean for value in x]
    power = sum(value * value for value in x)
    if len(x) < 8 or power <= 0:
        return 125
    known = [sum(x[k] * x[k + lag] for k in range(len(x) - lag)) / power for lag in range(3, min(401, len(x)))]
    peaks = [k for k in range(1, len(known) - 1) if known[k] > known[k - 1] and known[k] > known[k + 1]]
    if not peaks:
        return 125
    best = max(peaks, key=lambda k: known[k])
    return 125 if best < 3 or best > 300 else best + 3
