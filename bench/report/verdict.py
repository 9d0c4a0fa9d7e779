"""What the numbers say: means by group, and what was promised beside what was reached."""
import figures
from allocators import BASELINE

GROUPS = (("one", "one thread"), ("many", "many threads"), ("malloc-bound", "malloc-bound"), ("real", "real programs"))
FIELDS = (("seconds", "time"), ("peak_rss_kib", "peak RSS"))
CROSS_THREAD = ("prodcons-1-1", "prodcons-1-3", "prodcons-3-1", "asym")
PEAK_SCENARIOS = ("phases", "cache", "spikes", "vectors")


def group_items(jobs, group):
    return [job.name for job in jobs if group in job.groups]


def group_means(book, jobs, names):
    """[(title, count, {field: {allocator: mean}})] of the groups that have anything."""
    rows = []
    for group, title in GROUPS:
        items = [item for item in group_items(jobs, group) if item in book.table]
        if items:
            means = {field: {name: figures.group_mean(book.table, items, name, BASELINE, field)[0] for name in names}
                     for field, _ in FIELDS}
            rows.append((title, len(items), means))
    return rows


def scenario_rows(memory, names):
    """[(scenario, {allocator: figures})] with the peak over what lived; what is held, lives, and lies on pages with a living block in the end, in MiB."""
    rows = []
    for scenario, runs in memory.items():
        cells = {}
        for name in names:
            run = runs.get(name)
            if run:
                cells[name] = {
                    "peak_mib": run["peak_rss_kib"] / 1024,
                    "peak_over_live": run["peak_rss_kib"] / max(1, run["peak_live_kib"]),
                    "held_mib": run["held_rss_kib"] / 1024,
                    "end_live_mib": run["end_live_kib"] / 1024,
                    "pinned_mib": run["pinned_kib"] / 1024,
                }
        rows.append((scenario, cells))
    return rows


def _line(lines, text, value, limit, form="%.2f"):
    if value is not None:
        lines.append({"text": text, "value": form % value, "limit": form % limit, "reached": value <= limit})


def _beside_peers(lines, means, title):
    for field, label, best in (("seconds", "time", 0.90), ("peak_rss_kib", "peak RSS", 0.80)):
        peers = [means[field].get(name) for name in ("mimalloc", "tcmalloc")]
        peers = [mean for mean in peers if mean is not None]
        if peers and means[field].get("ouro") is not None:
            _line(lines, "%s: %s over the better of mimalloc and tcmalloc" % (title, label), means[field]["ouro"] / min(peers), best)


def promises(book, jobs, means, memory):
    """Lines with text, value, limit and whether it was reached; only for ouro."""
    lines = []
    for title, _, group in means:
        if title == "malloc-bound":
            _line(lines, "malloc-bound: time over jemalloc's", group["seconds"].get("ouro"), 0.62)
            _line(lines, "malloc-bound: peak RSS over jemalloc's", group["peak_rss_kib"].get("ouro"), 0.75)
            _beside_peers(lines, group, "malloc-bound")
        if title == "real programs":
            _line(lines, "real programs: time over jemalloc's", group["seconds"].get("ouro"), 0.95)
            _line(lines, "real programs: peak RSS over jemalloc's", group["peak_rss_kib"].get("ouro"), 0.95)
    for field, label, limit in (("seconds", "time", 1.05), ("peak_rss_kib", "peak RSS", 1.25)):
        ratios = {job.name: figures.ratio(book.table.get(job.name, {}), "ouro", BASELINE, field) for job in jobs}
        ratios = {name: number for name, number in ratios.items() if number is not None}
        if ratios:
            worst = max(ratios, key=ratios.get)
            _line(lines, "the worst workload's %s over jemalloc's (%s)" % (label, worst), ratios[worst], limit)
    cross = [figures.ratio(book.table[item], "ouro", BASELINE, "seconds") for item in CROSS_THREAD if item in book.table]
    _line(lines, "frees by other threads: time over jemalloc's", figures.geometric_mean(cross), 1 / 3)
    return lines + memory_promises(memory)


def memory_promises(memory):
    lines = []
    rows = dict(scenario_rows(memory, ["ouro"]))
    if rows.get("free-all", {}).get("ouro"):
        cell = rows["free-all"]["ouro"]
        _line(lines, "all freed, then idle: held, of the peak", cell["held_mib"] / cell["peak_mib"], 0.05, "%.3f")
    for name, text in (("free-most", "blocks up to 256 bytes"), ("free-most-2k", "blocks of 2 to 8 KiB")):
        if rows.get(name, {}).get("ouro"):
            cell = rows[name]["ouro"]
            _line(lines, "90%% of %s freed, then idle: MiB held" % text, cell["held_mib"],
                  1.5 * cell["end_live_mib"] + 0.1 * cell["peak_mib"], "%.0f")
    peaks = [rows[name]["ouro"]["peak_over_live"] for name in PEAK_SCENARIOS if rows.get(name, {}).get("ouro")]
    if len(peaks) == len(PEAK_SCENARIOS):
        _line(lines, "phases, cache, spikes, vectors: peak over what lives", figures.geometric_mean(peaks), 1.4)
    return lines
