"""The measuring: interleaved rounds of workloads and programs, the scaling over threads, the memory over time.

Within a round each workload is run under one allocator after the other before the next workload comes, so that what the machine
does meanwhile hits them alike; the order of the allocators turns by one from round to round.
"""
import concurrent.futures
import time

import runner


def rotated(items, by):
    by %= len(items)
    return items[by:] + items[:by]


class Job:
    """Something to be timed under every allocator."""

    def __init__(self, name, groups, text, run):
        self.name = name
        self.groups = groups
        self.text = text
        self.run = run


class Book:
    """The samples so far: book.table[job][allocator] is a list with a sample or None for each round."""

    def __init__(self):
        self.table = {}
        self.failures = []

    def run(self, job, allocator):
        row = self.table.setdefault(job.name, {}).setdefault(allocator.name, [])
        if any(sample is None for sample in row):    # once is enough: it would crash or hang again
            row.append(None)
            return
        try:
            row.append(job.run(allocator.path))
        except runner.Failure as failure:
            row.append(None)
            self.failures.append({"item": job.name, "allocator": allocator.name, "what": str(failure)})


def run_rounds(jobs, racers, plan, deadline, progress):
    """All jobs in turn, round after round; stops early only between rounds. Returns the book and the number of rounds."""
    book = Book()
    progress.expect(len(jobs) * len(racers) * plan.rounds)
    started = time.monotonic()
    done = 0
    while done < plan.rounds and jobs:
        for job in jobs:
            for allocator in rotated(racers, done):
                progress.step("round %d/%d  %s  %s" % (done + 1, plan.rounds, job.name, allocator.name))
                book.run(job, allocator)
        done += 1
        each = (time.monotonic() - started) / done
        if not plan.fixed_rounds and done >= plan.minimum_rounds and time.monotonic() + each > deadline:
            if done < plan.rounds:
                progress.say("bench: %d rounds, one more would take too long (--rounds N insists)" % done)
            break
    return book, done


def run_scaling(names, program, racers, plan, progress):
    """{workload: {allocator: {threads: best operations a second}}}"""
    out = {}
    progress.expect(len(names) * len(racers) * len(plan.scaling_threads) * plan.scaling_rounds)
    for name in names:
        table = out.setdefault(name, {allocator.name: {} for allocator in racers})
        for turn in range(plan.scaling_rounds):
            for threads in plan.scaling_threads:
                for allocator in rotated(racers, turn):
                    progress.step("scaling  %s  %d threads  %s" % (name, threads, allocator.name))
                    command = [program, name, "--threads", str(threads), "--scale", str(plan.scaling_scale)]
                    try:
                        sample = runner.run_json(command, allocator.path)
                    except runner.Failure:
                        continue
                    best = table[allocator.name]
                    best[sample["threads"]] = max(best.get(sample["threads"], 0), sample["ops_per_s"])
    return out


def memory_available_mib():
    with open("/proc/meminfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    return 1024


def run_memory(scenarios, program, racers, plan, progress):
    """Every scenario under every allocator; several at a time where memory allows, for most of a run is idleness and none is timed."""
    tasks = [(scenario, allocator) for scenario in scenarios for allocator in racers]
    # Some peers' peak in `spikes` is over four times the scale.
    at_a_time = max(1, min(2 * len(racers), int(memory_available_mib() * 0.7 / (1.3 * plan.mib))))
    if any(name == "spikes" for name, _ in scenarios):
        at_a_time = max(1, min(at_a_time, int(memory_available_mib() * 0.7 / (2.5 * plan.mib))))
    out, failures = {}, []
    progress.expect(len(tasks))

    def run(task):
        (name, _), allocator = task
        return runner.run_json([program, name, "--mib", str(plan.mib)], allocator.path)

    with concurrent.futures.ThreadPoolExecutor(at_a_time) as pool:
        running = {pool.submit(run, task): task for task in tasks}
        for future in concurrent.futures.as_completed(running):
            (name, _), allocator = running[future]
            progress.step("memory over time  %s  %s" % (name, allocator.name))
            try:
                out.setdefault(name, {})[allocator.name] = future.result()
            except runner.Failure as failure:
                failures.append({"item": "memory: " + name, "allocator": allocator.name, "what": str(failure)})
    return {name: out[name] for name, _ in scenarios if name in out}, failures
