"""The driver behind scripts/bench: see its --help."""
import argparse
import json
import os
import platform
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

import allocators  # noqa: E402
import figures  # noqa: E402
import measure  # noqa: E402
import page  # noqa: E402
import plan as plans  # noqa: E402
import plots  # noqa: E402
import programs  # noqa: E402
import runner  # noqa: E402
import terminal  # noqa: E402
import verdict  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(HERE))
RESERVED_S = 12     # for the plots


class Report:
    """All that the page, the table and results.json are made of."""

    def __init__(self):
        self.book = measure.Book()
        self.jobs = []
        self.names = []
        self.racers = []
        self.rounds = 0
        self.means = []
        self.memory = {}
        self.scaling = {}
        self.noise = None
        self.promises = []
        self.failures = []
        self.machine = {}
        self.plan = None


def machine():
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(("model name", "Model")):
                model = line.split(":", 1)[1].strip()
                break
    with open("/proc/meminfo", encoding="utf-8") as lines:
        total = int(lines.readline().split()[1]) // (1 << 20)
    return {"processor": model or platform.machine(), "processors": len(os.sched_getaffinity(0)), "memory_gib": total + 1,
            "kernel": platform.release(), "date": time.strftime("%Y-%m-%d %H:%M")}


def parse():
    parser = argparse.ArgumentParser(prog="scripts/bench", usage=argparse.SUPPRESS)
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "report"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--scale", type=float)
    parser.add_argument("--mib", type=int)
    parser.add_argument("--allocators", default=",".join(allocators.ORDER))
    parser.add_argument("--seconds", type=float, default=280, help="the time that the quick plan may take")
    parser.add_argument("--spent", type=float, default=0, help="seconds of it that are gone: the build's")
    parser.add_argument("command", nargs="*")
    words = sys.argv[1:]
    own = words[words.index("--") + 1:] if "--" in words else []
    options = parser.parse_args(words[:words.index("--")] if "--" in words else words)
    if options.command:
        parser.error("unknown word %s; a program of your own comes after --" % options.command[0])
    if "--" in words and not own:
        parser.error("no program after --")
    options.command = own
    return options


def find_allocators(options):
    names = options.allocators.split(",")
    if allocators.BASELINE not in names:
        names.insert(0, allocators.BASELINE)
    found, missing = allocators.find(names, ROOT, os.path.join(options.build, "lib", "libouro_malloc.so"))
    for line in missing:
        print("bench: " + line, file=sys.stderr)
    present = {allocator.name for allocator in found}
    if "ouro" in names and "ouro" not in present:
        sys.exit("bench: the library under test is missing; build it: cmake --preset release && cmake --build --preset release")
    if allocators.BASELINE not in present:
        sys.exit("bench: %s, which all ratios are to, is missing: scripts/setup bench" % allocators.BASELINE)
    return found


def with_noise(found):
    """The baseline once more, under another name."""
    base = next(allocator for allocator in found if allocator.name == allocators.BASELINE)
    return found + [allocators.Allocator(allocators.AGAIN, base.path, base.version)]


def workload_jobs(plan, program):
    jobs = []
    for load in plans.workloads(program):
        if plan.wants(load.name):
            command = [program, load.name, "--scale", str(plan.scale)]
            groups = [load.group] + (["malloc-bound"] if load.bound else [])
            jobs.append(measure.Job(load.name, groups, load.text, lambda path, command=command: runner.run_json(command, path)))
    return jobs


def program_jobs(plan, launch, folder, progress):
    jobs = []
    for kind in programs.ALL:
        program = kind(launch, folder, plan.program_scale)
        if not plan.wants(program.name):
            continue
        absent = program.missing()
        if absent:
            progress.say("bench: %s is left out: %s not installed" % (program.name, ", ".join(absent)))
            continue
        progress.say("bench: preparing %s" % program.name)
        program.prepare()
        jobs.append(measure.Job(program.name, ["real"], program.stands_for, program.run))
    return jobs


def tool(options, name):
    path = os.path.join(options.build, "bench", name)
    if not os.path.exists(path):
        sys.exit("bench: there is no %s; build it: cmake --preset release && cmake --build --preset release" % path)
    return path


def run_own(options, racers):
    """scripts/bench -- PROGRAM ARGS"""
    rounds = options.rounds or 5
    progress = runner.Progress()
    book = measure.Book()
    launch = tool(options, "ouro-launch")
    job = measure.Job("own", [], "", lambda path: runner.run_launched(launch, options.command, path, timeout=3600))
    progress.expect(rounds * len(racers))
    for turn in range(rounds):
        for allocator in measure.rotated(racers, turn):
            progress.step("round %d/%d  %s" % (turn + 1, rounds, allocator.name))
            book.run(job, allocator)
    progress.say("")
    terminal.print_own(options.command, racers, book.table["own"], rounds)
    for failure in book.failures:
        print("failed: under %(allocator)s: %(what)s" % failure)
    return 1 if book.failures else 0


def measure_all(options, report, started):
    plan = report.plan
    progress = runner.Progress()
    workload, memory = tool(options, "ouro-workload"), tool(options, "ouro-memory")
    single = [racer for racer in report.racers if racer.name != allocators.AGAIN]
    scenarios = [entry for entry in plans.scenarios(memory) if plan.wants("memory-" + entry[0])]
    report.memory, failures = measure.run_memory(scenarios, memory, single, plan, progress)
    scaling = [name for name in plans.SCALING if plan.wants("scaling-" + name)]
    report.scaling = measure.run_scaling(scaling, workload, single, plan, progress)
    report.jobs = workload_jobs(plan, workload)
    report.jobs += program_jobs(plan, tool(options, "ouro-launch"), os.path.join(options.out, "inputs"), progress)
    deadline = started + options.seconds - RESERVED_S
    report.book, report.rounds = measure.run_rounds(report.jobs, report.racers, plan, deadline, progress)
    report.failures = failures + report.book.failures
    if not (report.jobs or report.memory or report.scaling):
        sys.exit("bench: nothing is called like that; `ouro-workload --list`, memory-<scenario>, scaling-<workload>")


def conclude(report):
    report.means = verdict.group_means(report.book, report.jobs, report.names)
    report.noise = figures.noise(report.book.table, allocators.AGAIN, allocators.BASELINE, "seconds")
    if "ouro" in report.names and report.plan.only is None:     # what is promised is promised of all, not of a selection
        report.promises = verdict.promises(report.book, report.jobs, report.means, report.memory)


def write_results(report, path):
    with open(path, "w", encoding="utf-8") as out:
        json.dump({
            "schema": 1,
            "machine": report.machine,
            "plan": {"full": report.plan.full, "rounds": report.rounds, "scale": report.plan.scale, "mib": report.plan.mib},
            "allocators": [{"name": racer.name, "library": racer.path, "version": racer.version} for racer in report.racers],
            "items": {job.name: {"groups": job.groups, "stands_for": job.text} for job in report.jobs},
            "samples": report.book.table,
            "geometric_means": [{"group": title, "items": count, "means": means} for title, count, means in report.means],
            "noise": report.noise,
            "memory": report.memory,
            "scaling": report.scaling,
            "promises": report.promises,
            "failures": report.failures,
        }, out, indent=1)


def main():
    options = parse()
    started = time.monotonic() - options.spent
    found = find_allocators(options)
    if options.command:
        return run_own(options, found)
    report = Report()
    report.plan = plans.Plan(options.full, options.rounds, options.only, options.scale, options.mib)
    report.racers = with_noise(found)
    report.names = [racer.name for racer in report.racers]
    report.machine = machine()
    os.makedirs(options.out, exist_ok=True)
    try:
        measure_all(options, report, started)
    except subprocess.CalledProcessError as error:
        sys.exit("bench: %s" % error)
    conclude(report)
    terminal.print_report(report)
    write_results(report, os.path.join(options.out, "results.json"))
    drawn = plots.draw(report, os.path.join(options.out, "plots"))
    page.write(report, drawn, os.path.join(options.out, "index.html"))
    print("\nwrote %s and results.json, %d min %d s in all"
          % (os.path.relpath(os.path.join(options.out, "index.html")), *divmod(int(time.monotonic() - started), 60)))
    return 1 if any(failure["allocator"] == "ouro" for failure in report.failures) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nbench: interrupted")
