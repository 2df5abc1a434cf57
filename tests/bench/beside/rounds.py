"""Interleaved rounds over several proxies, ratios within a round, and tables of what was found."""
import statistics


def run(targets, count, measure):
    """Measures every target once a round; every other round goes the other way, so that no proxy always follows the same one.

    `measure` gives figures by name; the first is the one that ratios are taken of. Gives the figures of each round by target."""
    found = {target.name: [] for target in targets}
    for index in range(count):
        for target in targets if index % 2 == 0 else reversed(targets):
            found[target.name].append(measure(target))
    return found


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def table(title, found, ours, compared="first"):
    """What the rounds found as a table: a row a target, each figure with its least, middle and greatest, and the ratio of ours to it."""
    rows = {}
    for name, figures in found.items():
        names = list(figures[0])
        row = {figure: spread([one[figure] for one in figures]) for figure in names}
        if ours in found and name != ours and compared == "first":
            pairs = zip(found[ours], figures)
            row["ratio"] = spread([mine[names[0]] / other[names[0]] for mine, other in pairs if other[names[0]]] or [0])
        rows[name] = row
    return {"title": title, "ours": ours, "rows": rows}


def digits(value):
    if value >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(values):
    if values is None:
        return "-"
    return "..".join(digits(values[part]) for part in ("min", "median", "max"))


def render(made):
    """A table as text: least..middle..greatest of the rounds."""
    rows = made["rows"]
    columns = list(dict.fromkeys(column for row in rows.values() for column in row if column != "ratio"))
    if any("ratio" in row for row in rows.values()):
        columns.append("ratio")
    heads = ["", *(f"{made['ours']} / it" if column == "ratio" else column for column in columns)]
    lines = [heads, *([name, *(cell(row.get(column)) for column in columns)] for name, row in rows.items())]
    widths = [max(len(line[index]) for line in lines) for index in range(len(heads))]
    texts = ["  ".join(text.ljust(width) if index == 0 else text.rjust(width) for index, (text, width) in enumerate(zip(line, widths))) for line in lines]
    return "\n".join([made["title"], *(f"  {text}" for text in texts)])
