"""Draws the rooms of the package, floor by floor, and the imports between them.

python scripts/draw_architecture.py     into docs/figures/architecture.png
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "score_sde"
sys.path.insert(0, str(ROOT / "tests"))

from test_architecture import FLOORS, MODULES, arrows, room  # noqa: E402 - from the tests

MATHEMATICS, AROUND, OTHER = "#dbe9f6", "#f3e6d3", "#e4e4e4"
GROUND, ASIDE = ("typing", "checks", "precision", "renamed"), ("runtime", "configs")
HEIGHT, GAP = 0.62, 0.35


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
        widths = [max(0.17 * len(name), 0.7 + min(lines[name], 5000) / 3200) for name in middle]
        left = -(sum(widths) + GAP * (len(middle) - 1)) / 2
        for name, width in zip(middle, widths, strict=True):
            found[name] = (left + width / 2, floor, width)
            left += width + GAP
        found |= {name: (4.2, floor, 1.3) for name in rooms if name in ASIDE}
    return found


def main() -> None:
    """Boxes on their floors; rooms that every room uses are at the bottom without arrows."""
    lines = {name: size for name, size in sizes().items() if name != "__main__"}
    places = placed(lines)
    figure, axes = plt.subplots(figsize=(8.5, 8))
    graph = {start: stops - set(GROUND) for start, stops in arrows().items() if start in places}
    for start, stop in direct(graph):
        (x0, y0, _), (x1, y1, _) = places[start], places[stop]
        style = {"arrowstyle": "->", "color": "0.5", "lw": 0.9, "shrinkA": 0, "shrinkB": 0}
        if y0 == y1:
            style["connectionstyle"] = "arc3,rad=0.5"
        ends = (x1, y1 + (HEIGHT / 2 if y0 != y1 else -HEIGHT / 2)), (x0, y0 - HEIGHT / 2)
        axes.annotate("", *ends, arrowprops=style, zorder=1)
    for name, (x, y, width) in places.items():
        color = MATHEMATICS if y <= FLOORS["likelihood"] else AROUND
        color = OTHER if name in (*ASIDE, "cli") else color
        corner = (x - width / 2, y - HEIGHT / 2)
        axes.add_patch(Rectangle(corner, width, HEIGHT, fc=color, ec="0.3", zorder=2))
        axes.text(x, y + 0.1, name, ha="center", va="center", fontsize=9, weight="bold")
        axes.text(x, y - 0.16, f"{lines[name]:,} lines", ha="center", va="center", fontsize=7)
    axes.set_xlim(-4.3, 5.0)
    axes.set_ylim(-0.6, max(FLOORS.values()) + 0.6)
    axes.axis("off")
    path = ROOT / "docs" / "figures" / "architecture.png"
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    print(path)


if __name__ == "__main__":
    main()
