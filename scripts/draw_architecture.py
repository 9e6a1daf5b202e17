"""Draws the rooms of the package, floor by floor, and the imports between them.

python scripts/draw_architecture.py     into docs/figures/architecture.png
"""

import sys
from pathlib import Path

from matplotlib.patches import Rectangle

from score_sde.evaluation.plots.figure import new_figure

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "score_sde"
sys.path.insert(0, str(ROOT / "tests"))

from test_architecture import FLOORS, MODULES, arrows, room  # noqa: E402 - from the tests

MATHEMATICS, AROUND, OTHER = "#dbe9f6", "#f3e6d3", "#e4e4e4"
GROUND, ASIDE = ("typing", "checks", "precision", "renamed"), ("runtime", "configs")
HEIGHT, GAP = 0.62, 0.4


def sizes() -> dict[str, int]:
    """The lines of every room."""
    found: dict[str, int] = {}
    for path in MODULES:
        found[room(path)] = found.get(room(path), 0) + path.read_text().count("\n")
    recipes = (ROOT / "configs").rglob("*.py")
    return found | {"configs": sum(path.read_text().count("\n") for path in recipes)}


def direct(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """The imports that are not implied by a longer path through other rooms."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        waiting = list(graph.get(start, ()))
        while waiting:
            if (other := waiting.pop()) not in found:
                found.add(other)
                waiting.extend(graph.get(other, ()))
        return found

    return [
        (start, stop)
        for start, stops in graph.items()
        for stop in stops
        if not any(stop in reached(other) for other in stops if other != stop)
    ]


def placed(lines: dict[str, int]) -> dict[str, tuple[float, int, float]]:
    """The middle, the floor and the width of the box of every room.

    One row a floor; the width is proportional to the lines of the room, within limits.
    Rooms of the lower floors that are not mathematics are on the right.
    """
    found = {}
    for floor in range(max(FLOORS.values()) + 1):
        rooms = [name for name, level in FLOORS.items() if level == floor and name in lines]
        middle = [name for name in rooms if name not in ASIDE]
        widths = [max(0.19 * len(name), 0.8 + min(lines[name], 5000) / 3200) for name in middle]
        left = -(sum(widths) + GAP * (len(middle) - 1)) / 2
        for name, width in zip(middle, widths, strict=True):
            found[name] = (left + width / 2, floor, width)
            left += width + GAP
        found |= {name: (4.2, floor, 1.3) for name in rooms if name in ASIDE}
    return found


Point = tuple[float, float]


def ends(start: tuple[float, int, float], stop: tuple[float, int, float]) -> tuple[Point, Point]:
    """The ends of an arrow on the edges of two boxes, each a little towards the other."""
    (x0, y0, width0), (x1, y1, width1) = start, stop
    if y0 == y1:
        return (x0, y0 - HEIGHT / 2), (x1, y1 - HEIGHT / 2)
    lean = max(-1.0, min(1.0, (x1 - x0) / (y0 - y1) / 2))
    tail = x0 + lean * width0 / 3, y0 - HEIGHT / 2
    return tail, (x1 - lean * width1 / 3, y1 + HEIGHT / 2)


def main() -> None:
    """Boxes on their floors; rooms that every room uses are at the bottom without arrows."""
    lines = {name: size for name, size in sizes().items() if name != "__main__"}
    places = placed(lines)
    graph = {start: stops - set(GROUND) for start, stops in arrows().items() if start in places}
    path = ROOT / "docs" / "figures" / "architecture.png"
    with new_figure(path, height=7.6) as figure:
        axes = figure.add_subplot()
        for start, stop in direct(graph):
            style = {"arrowstyle": "-|>", "color": "0.45", "lw": 1.0, "shrinkA": 0, "shrinkB": 0}
            if places[start][1] == places[stop][1]:
                style["connectionstyle"] = "arc3,rad=0.5"
            tail, head = ends(places[start], places[stop])
            axes.annotate("", head, tail, arrowprops=style, zorder=1)
        for name, (x, y, width) in places.items():
            color = MATHEMATICS if y <= FLOORS["likelihood"] else AROUND
            color = OTHER if name in (*ASIDE, "cli") else color
            corner = (x - width / 2, y - HEIGHT / 2)
            style = {"fc": color, "ec": "0.3", "alpha": 0.85}  # an arrow behind it shows through
            axes.add_patch(Rectangle(corner, width, HEIGHT, zorder=2, **style))
            text = {"x": x, "ha": "center", "va": "center", "zorder": 3}
            axes.text(y=y + 0.11, s=name, weight="bold", **text)
            axes.text(y=y - 0.17, s=f"{lines[name]:,} lines", fontsize=8, **text)
        axes.set_xlim(-4.75, 5.05)
        axes.set_ylim(-0.4, max(FLOORS.values()) + 0.4)
        axes.axis("off")
    print(path)


if __name__ == "__main__":
    main()
