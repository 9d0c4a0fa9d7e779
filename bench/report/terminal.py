"""The table in the terminal."""
import sys

import figures
import verdict
from allocators import AGAIN, BASELINE


def _bold(text, on):
    return "\033[1m%s\033[0m" % text if on and sys.stdout.isatty() else text


def _cell(number, spread=None):
    if number is None:
        return "failed"
    if spread is None:
        return "%.2f" % number
    return "%.2f (%.2f-%.2f)" % (number, spread[0], spread[1])


def _names(names):
    """The columns of ratios: everybody but the baseline; its second run last."""
    return [name for name in names if name not in (BASELINE, AGAIN)] + [name for name in names if name == AGAIN]


def _ratios(book, jobs, names, field, title, unit, divisor):
    columns = _names(names)
    print("\n" + _bold("%s, as ratios to %s (quartiles of the rounds); smaller is better" % (title, BASELINE), True))
    print("%-14s %10s " % ("", BASELINE) + " ".join("%18s" % name for name in columns))
    for job in jobs:
        row = book.table.get(job.name)
        if row is None:
            continue
        base = figures.median(row.get(BASELINE, []), field)
        first = "failed" if base is None else "%.3g %s" % (base / divisor, unit)
        numbers = {name: figures.ratio(row, name, BASELINE, field) for name in columns}
        best = min((number for name, number in numbers.items() if number is not None and name != AGAIN), default=None)
        cells = []
        for name in columns:
            spread = figures.spread(row, name, BASELINE, field) if field == "seconds" else None
            text = "%18s" % ("" if base is None else _cell(numbers[name], spread if numbers[name] is not None else None))
            cells.append(_bold(text, numbers[name] is not None and numbers[name] == best and best < 1))
        print("%-14s %10s " % (job.name, first) + " ".join(cells))


def _means(means, names):
    columns = _names(names)
    print("\n" + _bold("Geometric means over %s's: time / peak RSS" % BASELINE, True))
    print("%-25s " % "" + " ".join("%18s" % name for name in columns))
    for title, count, group in means:
        cells = ["%18s" % ("%s / %s" % (_cell(group["seconds"][name]), _cell(group["peak_rss_kib"][name]))) for name in columns]
        print("%-25s " % ("%s (%d)" % (title, count)) + " ".join(cells))


def _held(cell):
    pinned = " (%.0f)" % cell["pinned_mib"] if cell["pinned_mib"] else ""
    return "%.2f / %.0f%s" % (cell["peak_over_live"], cell["held_mib"], pinned)


def _memory(memory, names):
    columns = [name for name in names if name != AGAIN]
    rows = verdict.scenario_rows(memory, columns)
    if not rows:
        return
    print("\n" + _bold("Memory over time: peak over what lived / MiB still held after 10 s of idleness (MiB of pages with a living block)", True))
    print("%-12s %12s " % ("", "lives on") + " ".join("%18s" % name for name in columns))
    for scenario, cells in rows:
        live = max(cell["end_live_mib"] for cell in cells.values())
        print("%-12s %8.0f MiB " % (scenario, live) + " ".join(
            "%18s" % (_held(cells[name]) if name in cells else "failed") for name in columns))


def print_report(report):
    book, jobs, names = report.book, report.jobs, report.names
    if book.table:
        _ratios(book, jobs, names, "seconds", "Time", "ms", 0.001)
        _ratios(book, jobs, names, "peak_rss_kib", "Peak RSS", "MiB", 1024)
        _means(report.means, names)
    _memory(report.memory, names)
    if report.noise:
        print("\nNoise: %s against itself %.3f in geometric mean of time; single workloads from %.2f to %.2f."
              % (BASELINE, *report.noise))
    if report.promises:
        print("\n" + _bold("Promised and reached", True))
        for line in report.promises:
            print("  %-3s %-66s %8s   at most %s" % ("yes" if line["reached"] else "NO", line["text"], line["value"], line["limit"]))
    for failure in report.failures:
        print("failed: %(item)s under %(allocator)s: %(what)s" % failure)


def print_own(command, racers, rows, rounds):
    """The table of the user's own program."""
    print("\n%s\n%d rounds, medians; in brackets the ratio to %s" % (" ".join(command), rounds, BASELINE))
    print("%-16s %20s %24s %20s %24s" % ("", "seconds", "CPU seconds", "peak RSS, MiB", "minor faults"))
    for allocator in racers:
        cells = []
        for field, divisor, form, width in (("seconds", 1, "%.3f", 20), ("cpu_seconds", 1, "%.3f", 24),
                                            ("peak_rss_kib", 1024, "%.1f", 20), ("minor_faults", 1, "%d", 24)):
            middle = figures.median(rows.get(allocator.name, []), field)
            number = figures.ratio(rows, allocator.name, BASELINE, field) if figures.median(rows.get(BASELINE, []), field) else None
            text = "failed" if middle is None else form % (middle / divisor)
            if number is not None:
                text += " (%.2f)" % number
            cells.append("%*s" % (width, text))
        print("%-16s %s" % (allocator.name, " ".join(cells)))
