"""A comparison told: as a table for the terminal, and as a page with charts."""

from __future__ import annotations

from training.judge import plot, report
from training.judge.comparison import FIGURES, Cell, Comparison
from training.judge.report import Html

HEADS = (
    "size", "architecture", "seeds", "accuracy", "precision", "recall", "F1", "parameters", "MACs", "train s",
    "peak MiB", "windows/s",
)  # fmt: skip
WORDS = (1,)  # columns that are text
_SHARES = ("accuracy", "precision", "recall", "f1")


def text(comparison: Comparison) -> str:
    """Return the table and what was left out, as lines of text; the spread of a share is one standard deviation."""
    rows = [list(HEADS), *(_row(cell) for cell in comparison.cells())]
    sizes = [max(len(row[k]) for row in rows) for k in range(len(HEADS))]
    lines = [
        "  ".join(f"{c:<{s}}" if k in WORDS else f"{c:>{s}}" for k, (c, s) in enumerate(zip(row, sizes, strict=True)))
        for row in rows
    ]
    return "\n".join([*lines, *([""] if comparison.left_out else []), *_left_out(comparison)])


def page(comparison: Comparison) -> str:
    """Return a self-contained HTML page: the two charts, the table, each class's figures, and how it was made."""
    cells, about = comparison.cells(), comparison.about
    names = sorted({cell.architecture for cell in cells}, key=lambda name: _least_macs(cells, name))
    by_macs = [plot.Line(name, _points(cells, name, "macs"), joined=False) for name in names]
    by_size = [plot.Line(name, _points(cells, name, "window")) for name in names]
    sizes = sorted({cell.window for cell in cells})
    blocks = [
        report.paragraph(
            f"Input size crossed with architecture on {about['data']}: classes {', '.join(about['classes'])}. "
            "Judged on later time than was learnt from, through the exported file in ONNX Runtime. "
            "Bars and ± are one standard deviation over seeds.",
        ),
        report.section(
            "Macro F1 against work per window",
            plot.over_log("F1 against MACs", "multiply-adds per window", "macro F1", by_macs),
        ),
        report.section(
            "Macro F1 against input size",
            plot.over_log("F1 against size", "rows of a window", "macro F1", by_size, sizes),
        ),
        report.section("All figures", report.table(HEADS, (_row(cell) for cell in cells), WORDS)),
        report.section("F1 of each class", _classes(comparison)),
    ]
    left = _left_out(comparison)
    if left:
        blocks.append(report.section("Left out", *(report.paragraph(line) for line in left)))
    facts = [(key, ", ".join(map(str, value)) if isinstance(value, list) else value) for key, value in about.items()]
    blocks.append(report.section("How", report.table(("what", "value"), facts, (0, 1))))
    return report.page(f"Comparison on {about['data']}", blocks)


def _row(cell: Cell) -> list[str]:
    several = len(cell.seeds) > 1
    shares = [f"{cell.mean[name]:.3f}" + (f" ±{cell.sd[name]:.3f}" if several else "") for name in _SHARES]
    rest = [f"{cell.mean[name]:,.{FIGURES[name]}f}" for name in ("train_s", "peak_memory_mib", "windows_per_s")]
    return [
        str(cell.window), cell.architecture, str(len(cell.seeds)), *shares, f"{cell.parameters:,}", f"{cell.macs:,}",
        *rest,
    ]  # fmt: skip


def _left_out(comparison: Comparison) -> list[str]:
    return [
        f"not run: {name} at {window}{'' if seed is None else f', seed {seed}'}: {why}"
        for name, window, seed, why in comparison.left_out
    ]


def _points(cells: list[Cell], name: str, over: str) -> list[tuple[float, float, float, str]]:
    return [
        (
            float(getattr(cell, over)), cell.mean["f1"], cell.sd["f1"],
            f"{name} at {cell.window}: F1 {cell.mean['f1']:.3f} ± {cell.sd['f1']:.3f}, {cell.macs:,} MACs",
        )
        for cell in cells if cell.architecture == name
    ]  # fmt: skip


def _least_macs(cells: list[Cell], name: str) -> int:
    return min(cell.macs for cell in cells if cell.architecture == name)


def _classes(comparison: Comparison) -> Html:
    names = comparison.about["classes"]
    rows = []
    for cell in comparison.cells():
        runs = [comparison.runs[cell.architecture, cell.window, seed] for seed in cell.seeds]
        found = [[run.per_class[name]["f1"] for run in runs if name in run.per_class] for name in names]
        rows.append([str(cell.window), cell.architecture, *(f"{sum(f1) / len(f1):.3f}" if f1 else "-" for f1 in found)])
    return report.table(("size", "architecture", *names), rows, WORDS)
