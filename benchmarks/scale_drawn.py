"""What scale.py found of the example among more sites, as a table and as a plot. Reads what was measured, adds nothing.

Order of calls: ``table(rows)``, ``plotted(rows)`` and ``filled(page, ...)``; rows by number of sites, each as
scale_split.py printed it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sekisho.governance.evidence.charts import Series, lines

MB = 1e6
JOINING = ("offer", "cohort", "kems", "secrets")
STYLE = ("<style>text{font:11px sans-serif}.hair{stroke:#999}.line{fill:none;stroke:#234;stroke-width:1.5}"
         ".dashed{stroke-dasharray:6 3}.dotted{stroke-dasharray:2 3}.dot,.mark{fill:#234}</style>")  # fmt: skip

Row = Mapping[str, Any]
HEADS = {
    "work": "| sites | steps | opening | preflight | joining | ready, open | train, seal | a count | coordinator "
    "| publish | run | run, wall |",
    "held": "| sites | MB with the model | all opened | after the run | peak | open files | MB up | MB down "
    "| MB key agreement | kB header |",
    "whole": "| stage | times | CPU s | wall s | MB at its end |",
}


def figures(row: Row) -> dict[str, float]:
    """The figures of one number of sites that the table, the plot and docs/scale.md speak of. CPU in seconds."""
    sites, steps = row["sites"], row["steps"]
    handled, subjects = row["handled"], row["subjects"]
    step = handled["step"][1] + handled["readies of a step"][1]
    return {
        "opening": row["stages"]["opening"]["cpu"],
        "preflight": row["stages"]["preflight"]["cpu"],
        "joining": sum(handled[kind][1] for kind in JOINING),
        "ready, open": handled["step"][1] / steps,
        "train, seal": handled["readies of a step"][1] / steps,
        "step": step / steps,
        "step a site": step / steps / sites,
        "count": (handled["count"][1] + handled["readies of a count"][1] + handled["judge"][1]) / row["counts"],
        "coordinator": sum(seconds for name, seconds in subjects.items() if name.startswith("coordinator:")),
        "publish": row["stages"]["publish"]["cpu"],
        "run": row["stages"]["run"]["cpu"],
        "run, wall": row["stages"]["run"]["wall"],
        "model": row["stages"]["base model"]["resident"] / MB,
        "opened": row["stages"]["opening"]["resident"] / MB,
        "after": row["stages"]["run"]["resident"] / MB,
        "peak": row["peak"] / MB,
        "closed": row["closed"] / MB,
        "handles": row["stages"]["run"]["handles"],
        "down": row["traffic"]["down"] / MB,
        "up": row["traffic"]["up"] / MB,
        "cohort header": row["messages"]["cohort"][1],
        "kems message": row["messages"]["kems"][2] / MB,
    }


def slope(rows: Sequence[Row], name: str) -> float:
    """Least squares: what one more site adds to a figure, over all numbers of sites that were measured."""
    points = [(row["sites"], figures(row)[name]) for row in rows]
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def subjects_of_a_step(row: Row) -> dict[str, float]:
    """Processor of one site in one step by subject, in milliseconds."""
    found: dict[str, float] = {}
    for name, seconds in row["subjects"].items():
        stage, _, subject = name.partition(": ")
        if stage in ("site step", "site readies of a step"):
            found[subject] = found.get(subject, 0.0) + 1e3 * seconds / row["steps"] / row["sites"]
    return found


def pages(rows: Sequence[Row], features: Row) -> dict[str, list[str]]:
    """What docs/scale.md has of it, as it stands there, by the name of the place: rows of tables, and two sentences."""
    found: dict[str, list[str]] = {"work": [], "held": [], "subjects": []}
    for row in rows:
        seen = figures(row)
        work = (
            "opening", "preflight", "joining", "ready, open", "train, seal", "count", "coordinator", "publish", "run"
        )  # fmt: skip
        cells = [f"{seen[name]:.1f}" for name in work]
        found["work"].append(f"| {row['sites']} | {row['steps']} | {' | '.join(cells)} | {seen['run, wall']:.0f} |")
    for row in rows:
        seen = figures(row)
        held = [f"{seen[name]:.0f}" for name in ("model", "opened", "after", "peak", "handles")]
        sent = [f"{seen['up']:.1f}", f"{seen['down']:.0f}", f"{seen['kems message']:.2f}",
                f"{seen['cohort header'] / 1e3:.0f}"]  # fmt: skip
        found["held"].append(f"| {row['sites']} | {' | '.join(held + sent)} |")
    first, last = subjects_of_a_step(rows[0]), subjects_of_a_step(rows[-1])
    for subject in sorted(last, key=lambda name: -last[name]):
        if last[subject] >= 1:
            found["subjects"].append(f"| {subject} | {first.get(subject, 0):.1f} | {last[subject]:.1f} |")
    tokens, fewest, most = features["tokens"], str(rows[0]["sites"]), str(rows[-1]["sites"])
    found["sentences"] = [
        f"A site adds {slope(rows, 'opened'):.1f} MB when it is opened and {slope(rows, 'after'):.1f} MB by the end of "
        "the run (least squares over these rows).",
        f"Features: {features['texts']:,} texts took {features['cpu']:.0f} CPU seconds, once. Where each site computes "
        f"its own, passes of eight texts are filled up more often: {100 * tokens[most] / tokens[fewest] - 100:.0f} % "
        f"more tokens at {most} sites than at {fewest}.",
    ]
    return found


def whole_run(row: Row) -> list[str]:
    """A run of all its steps, stage by stage; within a run the sites' work by kind of message, and what is left."""
    handled, stages = row["handled"], row["stages"]
    kinds = {
        "of it joining": JOINING,
        "of it steps: train, seal": ("readies of a step",),
        "of it steps: ready, open": ("step",),
        "of it counts": ("count", "readies of a count", "judge"),
        "of it the end": ("finish",),
    }
    lines = []
    for name, stage in stages.items():
        held = f"{stage['resident'] / MB:.0f}"
        lines.append(f"| {name} | 1 | {stage['cpu']:.0f} | {stage['wall']:.0f} | {held} |")
        if name != "run":
            continue
        cpu, wall = stage["cpu"], stage["wall"]
        for part, own in kinds.items():
            seconds = [sum(handled[kind][place] for kind in own) for place in (1, 2)]
            times = {"of it joining": 1, "of it the end": 1, "of it counts": row["counts"]}.get(part, row["steps"])
            lines.append(f"| {part} | {times} | {seconds[0]:.0f} | {seconds[1]:.0f} | |")
            cpu, wall = cpu - seconds[0], wall - seconds[1]
        lines.append(f"| of it the coordinator, and what lies between | | {cpu:.0f} | {wall:.0f} | |")
    return lines


def filled(page: str, rows: Sequence[Row], features: Row, whole: Row) -> str:
    """``page`` (docs/scale.md) with what was measured in its places; ``whole``: one run of all its steps."""
    heads = {**HEADS, "subjects": f"| | {rows[0]['sites']} sites | {rows[-1]['sites']} sites |"}
    for place, told in {**pages(rows, features), "whole": whole_run(whole)}.items():
        head = [heads[place], re.sub("[^|]+", "---", heads[place])] if place in heads else []
        marks = f"<!-- {place} -->", f"<!-- end of {place} -->"
        before, _, rest = page.partition(marks[0])
        after = rest.partition(marks[1])[2]
        page = "\n".join((f"{before}{marks[0]}", *head, *told, f"{marks[1]}{after}"))
    return page


def table(rows: Sequence[Row]) -> str:
    """One line a number of sites."""
    columns = (
        ("opening", "opening"), ("preflight", "preflight"), ("joining", "joining"), ("ready, open", "ready+open"),
        ("train, seal", "train+seal"), ("count", "a count"), ("coordinator", "coordin."), ("publish", "publish"),
        ("run, wall", "run, wall"), ("after", "MB after"), ("peak", "MB peak"), ("handles", "handles"),
        ("down", "MB down"), ("up", "MB up"),
    )  # fmt: skip
    head = f"{'sites':>6}" + "".join(f"{title:>12}" for _, title in columns)
    body = [
        f"{row['sites']:>6}" + "".join(f"{figures(row)[name]:>12.2f}" for name, _ in columns)
        for row in rows
    ]
    told = (
        "CPU seconds of all sites together; ready+open, train+seal of one step, with its features kept; wall of the "
        "whole run on a machine that others used, too.\n"
        f"A site adds {slope(rows, 'opened') * 1000:.0f} kB when it is opened and {slope(rows, 'after') * 1000:.0f} kB "
        "by the end of the run."
    )
    return "\n".join((head, *body, told))


def plotted(rows: Sequence[Row]) -> str:
    """CPU a site and memory against the number of sites."""

    def series(label: str, name: str, factor: float = 1.0, *, each: bool = False) -> Series:
        return Series(
            label, tuple((row["sites"], factor * figures(row)[name] / (row["sites"] if each else 1)) for row in rows)
        )

    ticks = [(row["sites"], str(row["sites"])) for row in rows if row["sites"] != 10]
    work = lines("Processor time of one site, by the number of sites", [
        series("opening", "opening", 1e3, each=True),
        series("joining", "joining", 1e3, each=True),
        series("one step", "step", 1e3, each=True),
        series("one count", "count", 1e3, each=True),
    ], x_label="sites", y_label="ms of processor a site", x_ticks=ticks)  # fmt: skip
    memory = lines("Memory of the one process, by the number of sites", [
        series("base model loaded", "model"),
        series("all sites opened", "opened"),
        series("after the run", "after"),
        series("peak", "peak"),
    ], x_label="sites", y_label="MB resident", x_ticks=ticks)  # fmt: skip
    placed = [
        chart.replace("<svg ", f'<svg x="20" y="{y}" width="360" height="320" ', 1)
        for chart, y in ((work, 10), (memory, 330))
    ]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 660" width="800">'
        f'{STYLE}<rect width="400" height="660" fill="#fff"/>{"".join(placed)}</svg>\n'
    )
