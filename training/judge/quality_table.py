"""Quality told as Markdown: each pack and recipe, the halves apart, and all packs together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from training.judge import quality_figures
from training.judge.quality_figures import HALVES, Figures
from training.judge.results import Row

WHOLE = (
    "pack", "recipe", "VUS-PR", "floor", "recall", "precision", "F1", "false alarms", "declared", "in alarm",
    "with tail", "delay",
)  # fmt: skip
APART = ("pack", "recipe", *(f"{half}: {what}" for half in HALVES for what in ("VUS-PR", "F1", "over declared")))
TOGETHER = (
    "recipe", "VUS-PR", "A", "B", "recall", "precision", "F1", "false / declared", "ratio", "ratio A", "ratio B",
    "in alarm", "with tail",
)  # fmt: skip

NOTE = """\
VUS-PR: mean over series, ± one standard deviation over seeds; floor: of scores that know nothing. Recall, precision and
F1 are of all events and alarms of a pack. False alarms: per 10,000 normal rows, with the 95 % interval (Poisson, exact)
of what so many alarms can stand for; declared: what the budget allows. In alarm: share of normal time, the W rows after
each event left out; with tail: these counted too. Delay: in rows. Half A (1st, 3rd, ... series of each pack by name) is
what choices may be made on, half B is what they have to hold on.
"""


def text(
    rows: Sequence[Row], series: Mapping[str, Sequence[str]], recipes: Sequence[str], budget: float, about: str
) -> str:
    """Return the tables. series: the judged files of each pack; what is not in `rows` yet is said to be missing."""
    half = quality_figures.halves(series)
    mine = {
        (pack, recipe): [row for row in rows if (row.pack, row.recipe) == (pack, recipe)]
        for pack in series
        for recipe in recipes
    }
    known = {key: part for key, part in mine.items() if part}

    def of(pack: str, recipe: str, side: str | None = None) -> Figures:
        part = [row for row in known.get((pack, recipe), ()) if side is None or half[pack, row.file] == side]
        return quality_figures.figures(part, budget)

    whole = [(pack, recipe, of(pack, recipe)) for pack, recipe in known]
    apart = [(pack, recipe, [of(pack, recipe, side) for side in HALVES]) for pack, recipe in known]
    lines = [
        f"# Quality\n\n{about}\n\n{NOTE}",
        "## Each pack\n",
        _table(WHOLE, (_whole(*one, len(series[one[0]])) for one in whole)),
        "## The halves apart\n",
        _table(
            APART, ([pack, recipe, *(cell for side in sides for cell in _half(side))] for pack, recipe, sides in apart)
        ),
    ]
    everywhere = [recipe for recipe in recipes if all((pack, recipe) in known for pack in series)]
    if everywhere and len(series) > 1:
        lines += [
            f"## All {len(series)} packs together\n",
            "VUS-PR is the plain mean of the packs, all else sums over them.\n",
            _table(TOGETHER, (_together(recipe, list(series), of) for recipe in everywhere)),
        ]
    return "\n".join([*lines, *_notes(known, series)])


def _whole(pack: str, recipe: str, found: Figures, series: int) -> list[str]:
    low, high = (_number(found.per_10k(count), 2) for count in found.bounds)
    told = pack if found.series == series else f"{pack}, {found.series} of {series} series"
    return [
        told, recipe, _rank(found), _number(found.floor), _number(found.recall, 2), _number(found.precision, 2),
        _number(found.f1, 2), f"{_number(found.per_10k(found.false), 2)} [{low}, {high}]",
        _number(found.per_10k(found.declared), 2), _percent(found.in_alarm), _percent(found.in_alarm_with_tail),
        _number(found.delay, 0),
    ]  # fmt: skip


def _half(found: Figures) -> list[str]:
    return [_rank(found), _number(found.f1, 2), _number(found.ratio, 2)]


def _together(recipe: str, packs: Sequence[str], of: Callable[..., Figures]) -> list[str]:
    whole, a, b = (quality_figures.pooled([of(pack, recipe, side) for pack in packs]) for side in (None, *HALVES))
    low, high = (_number(count / whole.declared, 2) if whole.declared else "-" for count in whole.bounds)
    return [
        recipe, _rank(whole), _rank(a), _rank(b), _number(whole.recall, 2), _number(whole.precision, 2),
        _number(whole.f1, 2), f"{whole.false:.0f} / {whole.declared:.0f}", f"{_number(whole.ratio, 2)} [{low}, {high}]",
        _number(a.ratio, 2), _number(b.ratio, 2), _percent(whole.in_alarm), _percent(whole.in_alarm_with_tail),
    ]  # fmt: skip


def _notes(known: Mapping[tuple[str, str], Sequence[Row]], series: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what was not as asked: series without figures, judged with a stand-in, or with a shorter window."""
    found: dict[str, list[str]] = {}
    for (pack, recipe), rows in known.items():
        kinds = {
            "without figures": {row.file for row in rows if row.normal_rows is None},
            "with a stand-in": {row.file for row in rows if "stands in" in row.note},
            "with a shorter window": {row.file for row in rows if "shrunk" in row.note and "stands in" not in row.note},
        }
        for kind, files in kinds.items():
            if files:
                told = f"{pack}: {len(files)} of {len(series[pack])} series {kind}"
                found.setdefault(told, []).append(recipe)
    return (
        ["## Not as asked\n", *(f"- {told} ({', '.join(names)})" for told, names in found.items()), ""] if found else []
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def _rank(found: Figures) -> str:
    return _number(found.vus_pr) + (f" ±{_number(found.spread)}" if found.spread is not None else "")


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
