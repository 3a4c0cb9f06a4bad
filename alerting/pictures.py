"""An alert's chart as a picture that is legible on a phone, on a light page and on a dark one.

matplotlib draws it, imported with the first picture. Its settings, which a file in the working directory may change,
are put back to the built-in ones; no text in it is read as mathematics or TeX.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tidegauge.alerting.states import Chart
from tidegauge.alerting.text import amount, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)
WIDTH, HEIGHT, DPI = 6.4, 3.6, 200
"""Inches and dots an inch: 1280 by 720."""
PAPER, INK, SOFT, GRID, EDGE = "#ffffff", "#16202b", "#56616d", "#e3e7eb", "#c3cad1"
LINE, LIMIT, BEFORE, BEGUN = "#0b62a4", "#c2261b", "#8a94a0", "#8a4b00"
LONGEST_TITLE, LONGEST_ABOUT = 42, 54
LEFT, BOTTOM, TOP = 0.13, 0.135, 0.745
"""Of the axes, as shares of the picture; further to the right where the numbers are long."""
_DRAWING = threading.Lock()
"""matplotlib is not made for several threads."""


@lru_cache(64)
def draw(chart: Chart) -> bytes:
    """``chart`` as PNG; empty where it cannot be drawn, which is logged."""
    try:
        with _DRAWING:
            return _drawn(chart)
    except Exception:  # a picture is never worth an alert
        logger.exception("alerting: the chart of %s could not be drawn", plain(chart.title))
        return b""


def alt_text(chart: Chart) -> str:
    """What the picture shows, for those who cannot see it.

    >>> at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> alt_text(Chart("Refusal rate", "service=shop", "share", (at, at), (0.01, 0.08), (), "", 0.05, True, at))
    'Refusal rate, service=shop: 1 % to 8 % from 2026-03-01 12:00 to 12:00 UTC, last 8 %; threshold 5 %'
    """
    known = [each for each in chart.values if each is not None]
    low, high, last = (amount(each, chart.unit) for each in (min(known), max(known), known[-1]))
    first, end = chart.ends[0].astimezone(UTC), chart.ends[-1].astimezone(UTC)
    until = f"{end:%H:%M}" if first.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    limit = f"; threshold {amount(chart.threshold, chart.unit)}" if chart.threshold is not None else ""
    head = f"{plain(chart.title, 100)}, {plain(chart.about, 300)}"
    return f"{head}: {low} to {high} from {first:%Y-%m-%d %H:%M} to {until} UTC, last {last}{limit}"


def _drawn(chart: Chart) -> bytes:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"text.parse_math": False, "text.usetex": False, "font.size": 14})
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, facecolor=PAPER, edgecolor=EDGE, linewidth=2)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((LEFT, BOTTOM, 0.95 - LEFT, TOP - BOTTOM))
        _frame(axes, chart)
        _reference(axes, chart)
        _course(axes, chart)
        figure.draw_without_rendering()
        wide = max(each.get_window_extent().width for each in axes.get_yticklabels()) / (WIDTH * DPI)
        axes.set_position((max(LEFT, wide + 0.045), BOTTOM, 0.95 - max(LEFT, wide + 0.045), TOP - BOTTOM))
        _legend(figure, chart)
        figure.text(0.03, 0.915, _legible(chart.title, LONGEST_TITLE), size=18, weight="bold", color=INK)
        figure.text(0.03, 0.845, _legible(chart.about, LONGEST_ABOUT), size=13.5, color=SOFT)
        file = io.BytesIO()
        canvas.print_png(file, metadata={"Software": "Tidegauge"})  # type: ignore[no-untyped-call]
        return file.getvalue()


def _frame(axes: Axes, chart: Chart) -> None:
    """Axes with few, large labels; time in UTC."""
    low, high = _range(chart)
    axes.set_facecolor(PAPER)
    axes.set_ylim(low, high)
    first, last = chart.ends[0], chart.ends[-1]
    axes.set_xlim(_x(first), _x(last) + 0.02 * (_x(last) - _x(first)))
    axes.locator_params(axis="y", nbins=4)
    axes.yaxis.set_major_formatter(lambda value, _: amount(value, chart.unit))
    ticks = _ticks(first, last)
    axes.set_xticks([_x(each) for each in ticks], _tick_texts(ticks))
    axes.tick_params(colors=SOFT, labelsize=13, length=0, pad=6)
    axes.grid(axis="y", color=GRID, linewidth=1)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color(EDGE)


def _reference(axes: Axes, chart: Chart) -> None:
    """What the values are held against: the threshold, and the band of earlier values."""
    known = [(_x(end), *each) for end, each in zip(chart.ends, chart.reference, strict=False) if each]
    if known:
        at, low, high = zip(*known, strict=True)
        axes.fill_between(at, low, high, color=BEFORE, alpha=0.3, linewidth=0)
        axes.plot(at, [(a + b) / 2 for a, b in zip(low, high, strict=True)], color=BEFORE, linewidth=2)
    if chart.threshold is not None:
        low_end, high_end = axes.get_ylim()
        beyond = (chart.threshold, high_end) if chart.upward else (low_end, chart.threshold)
        axes.axhspan(*beyond, color=LIMIT, alpha=0.06, linewidth=0)
        axes.axhline(chart.threshold, color=LIMIT, linewidth=2, linestyle=(0, (4, 2.5)))


def _course(axes: Axes, chart: Chart) -> None:
    """The values, with gaps where there were none, and when the alert began."""
    if chart.ends[0] <= chart.since <= chart.ends[-1]:
        axes.axvline(_x(chart.since), color=BEGUN, linewidth=1.8, linestyle=(0, (1, 1.6)))
    points = list(zip(map(_x, chart.ends), chart.values, strict=True))
    for (a, one), (b, other) in pairwise(points):
        if one is not None and other is not None:
            axes.plot([a, b], [one, other], color=LINE, linewidth=3.2, solid_capstyle="round")
    known = [(at, value) for at, value in points if value is not None]
    axes.plot(*zip(*known, strict=True), linestyle="", marker="o", markersize=4.5, color=LINE)
    at, value = known[-1]
    axes.plot([at], [value], marker="o", markersize=9, color=LINE, clip_on=False)


def _legend(figure: Any, chart: Chart) -> None:
    """Words in the colours of what they name, on one line above the chart."""
    last = next(each for each in reversed(chart.values) if each is not None)
    words = [(f"last {amount(last, chart.unit)}", LINE)]
    if chart.threshold is not None:
        words.append((f"threshold {amount(chart.threshold, chart.unit)}", LIMIT))
    if any(chart.reference):
        words.append((_legible(chart.reference_name, 20), SOFT))
    if chart.ends[0] <= chart.since <= chart.ends[-1]:
        form = "%H:%M UTC" if chart.ends[-1] - chart.since < timedelta(hours=20) else "%b %d %H:%M UTC"
        words.append((f"since {chart.since.astimezone(UTC):{form}}", BEGUN))
    left = 0.03
    for text, color in words:
        said = figure.text(left, 0.772, text, size=13, color=color, weight="bold")
        left += said.get_window_extent().width / (WIDTH * DPI) + 0.03


def _range(chart: Chart) -> tuple[float, float]:
    """From a little below the least that is shown to a little above the most; from 0 where nothing is below it."""
    shown = [each for each in chart.values if each is not None]
    shown += [each for pair in chart.reference if pair for each in pair]
    shown += [] if chart.threshold is None else [chart.threshold]
    low, high = min(shown), max(shown)
    room = (high - low or abs(high) or 1.0) * 0.14
    near_zero = 0 <= low < 0.6 * high
    return (0.0 if near_zero or low == 0 else low - room), high + room


def _ticks(first: datetime, last: datetime) -> list[datetime]:
    """Four to five round moments between the two."""
    lengths = [timedelta(minutes=each) for each in (1, 2, 5, 10, 15, 30)]
    lengths += [timedelta(hours=each) for each in (1, 2, 3, 6, 12)]
    lengths += [timedelta(days=each) for each in (1, 2, 7, 14, 28, 84)]
    step = next((each for each in lengths if (last - first) / each <= 4.5), lengths[-1])
    origin = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
    begin = origin + -(-(first - origin) // step) * step
    return [begin + i * step for i in range(int((last - begin) / step) + 1)]


def _tick_texts(ticks: Sequence[datetime]) -> list[str]:
    days = all(each.hour == each.minute == 0 for each in ticks)
    return [each.astimezone(UTC).strftime("%b %d" if days else "%H:%M") for each in ticks]


def _x(moment: datetime) -> float:
    return moment.timestamp()


def _legible(text: str, most: int) -> str:
    """``text`` on one line, cut, without characters that the font has no glyph for."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    return "".join(
        each if font.get_char_index(ord(each)) else "\N{REPLACEMENT CHARACTER}" for each in plain(text, most)
    )
