"""The plots, drawn by gnuplot as SVG that takes its ink from the page around it (light or dark)."""
import math
import os
import re
import shutil
import subprocess

import figures
from allocators import AGAIN, BASELINE

INK, FAINT, AREA = "#010203", "#040506", "#070809"     # stand for the page's colours until the SVG is done
COLOURS = {"ouro": "#e8590c", "jemalloc": "#7c8594", "mimalloc": "#2f83d6", "tcmalloc": "#2f9e44", "glibc": "#a44fc4"}
OTHERS = ["#c2255c", "#0c8599", "#b08900"]
POINTS = {"ouro": 7, "jemalloc": 5, "mimalloc": 9, "tcmalloc": 11, "glibc": 13}
FONT = "system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif"


def colour(name, names):
    if name in COLOURS:
        return COLOURS[name]
    rest = [other for other in names if other not in COLOURS and other != AGAIN]
    return OTHERS[rest.index(name) % len(OTHERS)] if name in rest else INK


def quoted(text):
    return '"' + text.replace("\\", "\\\\").replace('"', "'") + '"'


def _number(value):
    return "NaN" if value is None else "%.6g" % value


def _block(name, rows):
    return "$%s << EOD\n%s\nEOD\n" % (name, "\n".join(" ".join(row) for row in rows) if rows else "NaN NaN NaN NaN NaN")


def _head(width, height):
    return """set terminal svg size {w},{h} dynamic enhanced font "{font},13" linewidth 1.2
set encoding utf8
set border 3 lc rgb "{faint}" lw 0.8
set tics nomirror scale 0.5 textcolor rgb "{ink}"
set grid back lc rgb "{faint}" lw 0.5
set key outside top center horizontal Left reverse textcolor rgb "{ink}" samplen 1.5 font ",13"
set xlabel textcolor rgb "{ink}"
set ylabel textcolor rgb "{ink}"
set title textcolor rgb "{ink}"
""".format(w=width, h=height, font=FONT.split(",", maxsplit=1)[0], faint=FAINT, ink=INK)


def _themed(svg):
    """Sentinel colours become the page's; the document head goes, for the picture stands inside a page."""
    svg = svg[svg.index("<svg"):]
    for colour_code, replacement in ((INK, "currentColor"), (FAINT, "currentColor"), (AREA, "currentColor")):
        red, green, blue = (int(colour_code[i:i + 2], 16) for i in (1, 3, 5))
        pattern = r"(stroke|fill)\s*=\s*(['\"])\s*rgb\(\s*%d,\s*%d,\s*%d\)\s*['\"]" % (red, green, blue)
        dim = {FAINT: 0.28, AREA: 0.13}.get(colour_code)
        extra = "" if dim is None else r" \1-opacity=\g<2>%.2f\g<2>" % dim
        svg = re.sub(pattern, r"\1=\g<2>%s\g<2>%s" % (replacement, extra), svg)
    svg = re.sub(r'\bcolor="[^"]*"', "", svg).replace('font-family="%s"' % FONT.split(",", maxsplit=1)[0], 'font-family="%s"' % FONT)
    return re.sub(r"<title>Gnuplot</title>\s*<desc>[^<]*</desc>", "", svg)


def _unique_ids(svg, prefix):
    """Ids are the document's, and several pictures share it."""
    svg = re.sub(r"id=(['\"])([^'\"]+)['\"]", lambda m: "id=%s%s-%s%s" % (m[1], prefix, m[2], m[1]), svg)
    svg = re.sub(r"url\(#", "url(#%s-" % prefix, svg)
    return re.sub(r"(xlink:href=['\"])#", r"\1#%s-" % prefix, svg)


def _draw(name, script, folder):
    with open(os.path.join(folder, name + ".gp"), "w", encoding="utf-8") as out:
        out.write(script)
    done = subprocess.run(["gnuplot", "-"], input=script, capture_output=True, text=True, check=False)
    if done.returncode != 0 or "<svg" not in done.stdout:
        raise RuntimeError("gnuplot: " + done.stderr.strip()[-300:])
    svg = _unique_ids(_themed(done.stdout), name)
    with open(os.path.join(folder, name + ".svg"), "w", encoding="utf-8") as out:
        out.write('<?xml version="1.0"?>\n' + svg)
    return svg


def _log_range(numbers, low, high):
    """Tics at round ratios around all the numbers, and the range."""
    numbers = [number for number in numbers if number] + [low, high]
    first, last = min(numbers) / 1.08, max(numbers) * 1.08
    tics = [tic for tic in (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50, 100) if first <= tic <= last]
    return first, last, "(" + ", ".join('"%g" %g' % (tic, tic) for tic in tics) + ")"


def _speed_memory(report, names, folder):
    """One point a workload, and the geometric mean as a large one."""
    table = report.book.table
    blocks, draws, all_x, all_y = [], [], [], []
    for index, name in enumerate(names):
        rows = []
        for row in table.values():
            x, y = (figures.ratio(row, name, BASELINE, field) for field in ("seconds", "peak_rss_kib"))
            if x and y:
                rows.append((x, y))
        if not rows:
            continue
        all_x += [x for x, _ in rows]
        all_y += [y for _, y in rows]
        middle = (figures.geometric_mean([x for x, _ in rows]), figures.geometric_mean([y for _, y in rows]))
        blocks.append(_block("d%d" % index, [(_number(x), _number(y)) for x, y in rows]))
        blocks.append(_block("m%d" % index, [(_number(middle[0]), _number(middle[1]))]))
        shade, shape = colour(name, names), POINTS.get(name, 15)
        draws.append('$d%d using 1:2 with points pt %d ps 0.55 lc rgb "#60%s" notitle' % (index, shape, shade[1:]))
        draws.append('$m%d using 1:2 with points pt %d ps 1.9 lw 2 lc rgb "%s" title %s' % (index, shape, shade, quoted(name)))
    if not draws:
        return None
    x0, x1, xtics = _log_range(all_x, 0.8, 1.25)
    y0, y1, ytics = _log_range(all_y, 0.8, 1.25)
    return _draw("speed-memory", _head(860, 560) + "".join(blocks) + """
set logscale xy
set xrange [{x0}:{x1}]
set yrange [{y0}:{y1}]
set xtics {xt}
set ytics {yt}
set xlabel "time over {b}'s (left is faster)"
set ylabel "peak RSS over {b}'s (down is smaller)"
set arrow 1 from 1,{y0} to 1,{y1} nohead lc rgb "{ink}" dt 3
set arrow 2 from {x0},1 to {x1},1 nohead lc rgb "{ink}" dt 3
plot {draws}
""".format(x0=x0, x1=x1, y0=y0, y1=y1, xt=xtics, yt=ytics, b=BASELINE, ink=INK, draws=", \\\n  ".join(draws)), folder)


def _dots(report, names, folder, field, file_name, title):
    """A line a workload, a dot an allocator; bars are the quartiles of the rounds."""
    jobs = [job for job in report.jobs if job.name in report.book.table]
    others = [name for name in names if name != BASELINE]
    if not jobs or not others:
        return None
    blocks, draws, everything = [], [], []
    for index, name in enumerate(others):
        rows = []
        shift = 0.5 * ((index + 0.5) / len(others) - 0.5)
        for line, job in enumerate(jobs):
            row = report.book.table[job.name]
            middle, around = figures.ratio(row, name, BASELINE, field), figures.spread(row, name, BASELINE, field)
            if middle is None:
                continue
            everything.append(middle)
            rows.append((_number(middle), "%.3f" % (line + shift), _number(around[0]), _number(around[1])))
        blocks.append(_block("d%d" % index, rows))
        draws.append('$d%d using 1:2:3:4 with xerrorbars pt %d ps 0.7 lw 1 lc rgb "%s" title %s'
                     % (index, POINTS.get(name, 15), colour(name, names), quoted(name)))
    x0, x1, xtics = _log_range(everything, 0.8, 1.25)
    labels = ", ".join('%s %d' % (quoted(job.name), line) for line, job in enumerate(jobs))
    return _draw(file_name, _head(860, 90 + 27 * len(jobs)) + "set bars 0\n" + "".join(blocks) + """
set logscale x
set xrange [{x0}:{x1}]
set yrange [{last}:-0.6]
set xtics {xt}
set ytics ({labels}) scale 0
set xlabel "{title} over {b}'s"
set arrow 1 from 1,-0.6 to 1,{last} nohead lc rgb "{ink}" dt 3
plot {draws}
""".format(x0=x0, x1=x1, last=len(jobs) - 0.4, xt=xtics, labels=labels, title=title, b=BASELINE, ink=INK,
           draws=", \\\n  ".join(draws)), folder)


def _grid(panels, columns, width, height, head, legend):
    """Panels side by side under one legend, which is a panel of its own on top."""
    rows = math.ceil(len(panels) / columns)
    top = 34
    out = [head(width, rows * height + top), "unset key\nset multiplot\n"]
    total = rows * height + top
    for index, panel in enumerate(panels):
        x, y = (index % columns) / columns, 1 - (top + (index // columns + 1) * height) / total
        out.append("set origin %.4f,%.4f\nset size %.4f,%.4f\n" % (x, y, 1 / columns, height / total))
        out.append(panel)
    out.append("""set origin 0,%.4f
set size 1,%.4f
reset
unset border
unset tics
unset grid
set lmargin 0
set rmargin 0
set key at screen 0.5,%.4f center horizontal Left reverse textcolor rgb "%s" samplen 1.5
set xrange [0:1]
set yrange [0:1]
plot %s
unset multiplot
""" % (1 - top / total, top / total, 1 - 0.5 * top / total, INK, legend))
    return "".join(out)


def _legend(names, shown, extra=""):
    return ", ".join('NaN with linespoints lw 2 pt %d ps 0.7 lc rgb "%s" title %s'
                     % (POINTS.get(name, 15), colour(name, names), quoted(name)) for name in shown) + extra


def _scaling(report, names, folder):
    panels = []
    shown = [name for name in names if any(table.get(name) for table in report.scaling.values())]
    for number, (workload, table) in enumerate(report.scaling.items()):
        blocks, draws = [], []
        for index, name in enumerate(shown):
            rows = [(str(threads), _number(rate / 1e6)) for threads, rate in sorted(table.get(name, {}).items())]
            blocks.append(_block("s%d_%d" % (number, index), rows))
            draws.append('$s%d_%d using 1:2 with linespoints lw 2 pt %d ps 0.7 lc rgb "%s"'
                         % (number, index, POINTS.get(name, 15), colour(name, names)))
        panels.append("".join(blocks) + """set title %s
set logscale x 2
set xtics (1, 2, 4, 8, 16)
set xrange [0.9:%g]
set yrange [0:*]
set xlabel "threads"
set ylabel "million operations a second"
plot %s
""" % (quoted(workload), 1.1 * max(report.plan.scaling_threads), ", ".join(draws)))
    if not panels:
        return None
    return _draw("scaling", _grid(panels, 2, 860, 300, _head, _legend(names, shown)), folder)


def _over_time(report, names, folder):
    panels = []
    shown = [name for name in names if name != AGAIN and any(name in runs for runs in report.memory.values())]
    for number, (scenario, runs) in enumerate(report.memory.items()):
        blocks, draws = [], []
        source = runs.get("ouro") or next(iter(runs.values()))
        blocks.append(_block("l%d" % number, [("%.3f" % (at / 1000), "%.1f" % (live / 1024)) for at, _, live in source["samples"]]))
        draws.append('$l%d using 1:2 with filledcurves x1 fillcolor rgb "%s"' % (number, AREA))
        for index, name in enumerate(shown):
            rows = [("%.3f" % (at / 1000), "%.1f" % (rss / 1024)) for at, rss, _ in runs.get(name, {"samples": []})["samples"]]
            blocks.append(_block("r%d_%d" % (number, index), rows))
            draws.append('$r%d_%d using 1:2 with lines lw %g lc rgb "%s"'
                         % (number, index, 2.4 if name == "ouro" else 1.6, colour(name, names)))
        panels.append("".join(blocks) + """set title %s
set xrange [0:*]
set yrange [0:*]
set xlabel "seconds"
set ylabel "MiB"
plot %s
""" % (quoted(scenario), ", ".join(draws)))
    if not panels:
        return None
    legend = ", ".join('NaN with lines lw 2.4 lc rgb "%s" title %s' % (colour(name, names), quoted(name)) for name in shown)
    legend += ', NaN with filledcurves x1 fillcolor rgb "%s" title "lives"' % AREA
    return _draw("memory", _grid(panels, 2, 860, 270, _head, legend), folder)


def draw(report, folder):
    """{name: SVG} of the plots for which there is something to show; a line on a machine without gnuplot."""
    os.makedirs(folder, exist_ok=True)
    if not shutil.which("gnuplot"):
        print("bench: no plots, gnuplot is not installed (scripts/setup bench)")
        return {}
    names = [name for name in report.names if name != AGAIN]
    made = {
        "speed-memory": _speed_memory(report, names, folder),
        "time": _dots(report, names, folder, "seconds", "time", "time"),
        "rss": _dots(report, names, folder, "peak_rss_kib", "rss", "peak RSS"),
        "scaling": _scaling(report, names, folder),
        "memory": _over_time(report, names, folder),
    }
    return {name: svg for name, svg in made.items() if svg}
