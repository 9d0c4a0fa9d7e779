"""The page: build/report/index.html, one file with everything in it."""
import html

import figures
import verdict
from allocators import AGAIN, BASELINE

STYLE = """
:root { color-scheme: light dark; --ink: #1d2026; --dim: #626a76; --line: #dde1e7; --paper: #ffffff; --good: #1c7a3e; --bad: #b3261e; --soft: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --dim: #9aa2ae; --line: #333841; --paper: #15171b; --good: #6fce8f; --bad: #f2928b; --soft: #1d2025; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 62rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 46rem; }
.dim, figcaption, th { color: var(--dim); }
figure { margin: .6rem 0 0; }
figcaption { font-size: .875rem; max-width: 46rem; }
svg { display: block; width: 100%; height: auto; color: var(--ink); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .28rem .7rem .28rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th { font-weight: 500; }
th:first-child, td:first-child, .text { text-align: left; }
td.text { white-space: normal; }
small { color: var(--dim); font-size: .8em; }
b { font-weight: 650; }
.good { color: var(--good); } .bad { color: var(--bad); }
tr.mean td { background: var(--soft); }
"""


def text(value):
    return html.escape(str(value), quote=True)


def _row(cells, kind="td", css=""):
    return "<tr%s>%s</tr>" % (' class="%s"' % css if css else "", "".join("<%s>%s</%s>" % (kind, cell, kind) for cell in cells))


def _table(head, rows):
    return '<div class="wide"><table><thead>%s</thead><tbody>%s</tbody></table></div>' % (_row(head, "th"), "\n".join(rows))


def _ratio(number, around, best, worst):
    if number is None:
        return '<span class="bad">failed</span>'
    shown = "%.2f" % number
    if best:
        shown = "<b>%s</b>" % shown
    elif number > worst:
        shown = '<span class="bad">%s</span>' % shown
    if around is not None:
        shown += " <small>%.2f–%.2f</small>" % around
    return shown


def _columns(names):
    return [name for name in names if name not in (BASELINE, AGAIN)] + [name for name in names if name == AGAIN]


def _ratios(report, field, divisor, unit, worst):
    columns = _columns(report.names)
    rows = []
    for job in report.jobs:
        row = report.book.table.get(job.name)
        if row is None:
            continue
        base = figures.median(row.get(BASELINE, []), field)
        numbers = {name: figures.ratio(row, name, BASELINE, field) for name in columns}
        lowest = min((number for name, number in numbers.items() if number is not None and name != AGAIN), default=None)
        cells = ['<span title="%s">%s</span>' % (text(job.text), text(job.name)),
                 "failed" if base is None else "%.3g %s" % (base / divisor, unit)]
        for name in columns:
            around = figures.spread(row, name, BASELINE, field) if field == "seconds" and numbers[name] is not None else None
            best = name != AGAIN and numbers[name] is not None and numbers[name] == lowest and lowest < 1
            cells.append("" if base is None else _ratio(numbers[name], around, best, worst))
        rows.append(_row(cells))
    return _table(["", text(BASELINE)] + [text(name) for name in columns], rows)


def _means(report):
    columns = _columns(report.names)
    head = ["geometric mean of"] + [text(name) for name in columns]
    rows = []
    for title, count, means in report.means:
        for field, label in verdict.FIELDS:
            numbers = means[field]
            lowest = min((numbers[name] for name in columns if name != AGAIN and numbers[name] is not None), default=None)
            rows.append(_row(['%s <small>%d, %s</small>' % (text(title), count, label)] + [
                _ratio(numbers[name], None, name != AGAIN and numbers[name] == lowest, 99) for name in columns]))
    return _table(head, rows)


def _held(cell):
    pinned = ", pinned %.0f" % cell["pinned_mib"] if cell["pinned_mib"] else ""
    return "%.2f <small>held %.0f%s</small>" % (cell["peak_over_live"], cell["held_mib"], pinned)


def _memory(report):
    columns = [name for name in report.names if name != AGAIN]
    rows = []
    for scenario, cells in verdict.scenario_rows(report.memory, columns):
        live = max(cell["end_live_mib"] for cell in cells.values())
        rows.append(_row([text(scenario), "%.0f MiB" % live] + [
            _held(cells[name]) if name in cells else '<span class="bad">failed</span>' for name in columns]))
    return _table(["", "lives on"] + [text(name) for name in columns], rows)


def _promises(report):
    rows = [_row(['<span class="text">%s</span>' % text(line["text"]), line["value"], "at most " + line["limit"],
                  '<span class="good">reached</span>' if line["reached"] else '<span class="bad">not reached</span>'])
            for line in report.promises]
    return _table(["", "measured", "promised", ""], rows)


def _figure(svg, caption):
    return "<figure>%s<figcaption>%s</figcaption></figure>" % (svg, caption) if svg else ""


def _noise(report):
    if not report.noise:
        return ""
    return ("<p><b>Noise.</b> %s measured against itself in the same rounds comes to %.3f in geometric mean, single workloads to "
            "between %.2f and %.2f. A difference smaller than that says nothing.</p>" % ((BASELINE,) + tuple(report.noise)))


def _sections(report, drawn):
    parts = []
    if report.means:
        parts += ["<h2>In a line each</h2>", _means(report), _noise(report)]
    if report.promises:
        parts += ["<h2>Promised and reached</h2>", _promises(report)]
    if report.book.table:
        parts += ["<h2>Speed against memory</h2>", _figure(drawn.get("speed-memory"), "A small point is a workload or program, "
                  "a large one the geometric mean of an allocator's. Towards the lower left is better; %s is at 1, 1." % BASELINE),
                  "<h2>Time</h2>", _figure(drawn.get("time"), "Ratios of medians; bars reach from the first to the third quartile "
                                           "of the rounds."), _ratios(report, "seconds", 0.001, "ms", 1.05),
                  "<h2>Peak RSS</h2>", _figure(drawn.get("rss"), "Ratios of medians."),
                  _ratios(report, "peak_rss_kib", 1024, "MiB", 1.25)]
    if drawn.get("scaling"):
        parts += ["<h2>Scaling over threads</h2>", _figure(drawn["scaling"], "The same work in all, shared out over more threads. "
                  "This machine has %d processors; more threads than that wait for each other." % report.machine["processors"])]
    if report.memory:
        parts += ["<h2>Memory over time</h2>", _figure(drawn.get("memory"), "RSS, read from outside while a scenario runs and "
                  "for ten seconds of idleness after it. The area is what the program has asked for and not yet freed%s."
                  % (", in ouro's run" if "ouro" in report.names else "")),
                  "<p class=dim>Peak over the most that lived, and MiB held after the idle time; pinned: on pages with a living block, which no allocator that moves nothing can give back.</p>", _memory(report)]
    if report.failures:
        parts += ["<h2>Failures</h2>", "<ul>%s</ul>" % "".join(
            "<li>%s under %s: %s</li>" % (text(f["item"]), text(f["allocator"]), text(f["what"])) for f in report.failures)]
    return parts


def write(report, drawn, path):
    machine, plan = report.machine, report.plan
    versions = ", ".join("%s %s" % (racer.name, racer.version) for racer in report.racers if racer.name != AGAIN)
    head = ("<h1>Ouroboros beside its peers</h1><p class=dim>%s · %d processors, %d GiB, %s, Linux %s<br>%s<br>"
            "%d interleaved rounds, work scaled by %g%s</p>" % (
                text(machine["date"]), machine["processors"], machine["memory_gib"], text(machine["processor"]),
                text(machine["kernel"]), text(versions), report.rounds, plan.scale,
                "" if plan.full else "; a quick look, <code>scripts/bench --full</code> is what numbers are quoted from"))
    how = ("<p>All numbers are ratios to %s's, medians over medians: 0.80 is a fifth less time or memory. Every allocator ran every "
           "workload in every round, one after the other.</p>" % BASELINE)
    with open(path, "w", encoding="utf-8") as out:
        out.write('<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
                  'initial-scale=1"><title>Ouroboros: benchmarks</title><style>%s</style></head><body>\n%s\n</body></html>\n'
                  % (STYLE, "\n".join([head, how] + _sections(report, drawn))))
