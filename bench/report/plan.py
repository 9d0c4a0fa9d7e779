"""What is run: the list of workloads and scenarios as the programs name them, and how much of each.

The quick plan is for a look in a few minutes; the full one is what numbers are quoted from.
"""
import re
import subprocess

SCALING = ("replace-mt", "transfer", "prodcons-1-1", "larson")


class Plan:
    def __init__(self, full, rounds, only, scale, mib):
        self.full = full
        self.rounds = rounds or (7 if full else 5)
        self.fixed_rounds = full or rounds is not None
        self.only = re.compile(only) if only else None
        self.scale = scale or (1.0 if full else 0.3)
        self.program_scale = min(1.0, 1.5 * self.scale)
        self.mib = mib or (1024 if full else 256)
        self.scaling_threads = (1, 2, 4, 8, 16) if full else (1, 2, 4, 8)
        self.scaling_rounds = 3 if full else 1
        self.scaling_scale = self.scale * 0.5
        self.minimum_rounds = 3

    def wants(self, name):
        return self.only is None or self.only.match(name) is not None


class Workload:
    def __init__(self, name, group, bound, threads, text):
        self.name = name
        self.group = group
        self.bound = bound
        self.threads = threads
        self.text = text


def workloads(program):
    out = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
    found = []
    for line in out.splitlines():
        name, group, bound, threads, _, text = line.split("\t")
        found.append(Workload(name, group, bound == "malloc-bound", int(threads), text))
    return found


def scenarios(program):
    out = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout
    return [tuple(line.split("\t")) for line in out.splitlines()]
