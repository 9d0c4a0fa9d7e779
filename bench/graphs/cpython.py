#!/usr/bin/env python3
"""What CPython's own collector takes for the graphs and loads of ouro-graphs, printed in the same columns.

A tracked node is a list of what it refers to; other nodes without references are floats. References from outside are held by a list.
Of the server only the loop differs: it is Python's. `ns/object` counts what gc tracks here.
"""
import argparse
import array
import gc
import os
import struct
import subprocess
import sys
import threading
import time


def report(name, what, seconds, objects, edges=0):
    line = "%-14s %-18s %4s %10.2f ms" % (name, what, "cpy", seconds * 1e3)
    if objects:
        line += " %8.1f ns/object" % (seconds * 1e9 / objects)
    if edges:
        line += " %8.1f ns/edge" % (seconds * 1e9 / edges)
    print(line, flush=True)


def median(numbers):
    numbers = sorted(numbers)
    middle = len(numbers) // 2
    return numbers[middle] if len(numbers) % 2 else (numbers[middle - 1] + numbers[middle]) / 2


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


class Graph:
    """A file of the format OGRAPH1: see README.md."""

    def __init__(self, path):
        if path.endswith(".zst"):
            self.data = memoryview(subprocess.run(["zstd", "-dcq", "--", path], check=True, stdout=subprocess.PIPE).stdout)
        else:
            with open(path, "rb") as file:
                self.data = memoryview(file.read())
        magic, version, flags, self.nodes, self.edges, _, _, _, _, type_bytes, _ = struct.unpack_from("<8sIIQQIIIIQQ", self.data)
        if magic != b"OGRAPH1\0" or version != 1:
            raise ValueError(path + " is no graph")
        self.planes = bool(flags & 2)
        self.at = 64
        self.section(type_bytes)
        self.section(self.nodes * 4)
        self.count = self.numbers(self.nodes, False)
        self.section(self.nodes * 2)
        self.flags = self.section(self.nodes)
        self.degree = self.numbers(self.nodes, False)
        self.delta = self.numbers(self.edges, True)

    def section(self, size):
        part = self.data[self.at:self.at + size]
        if len(part) != size:
            raise ValueError("the file is cut short")
        self.at += (size + 7) // 8 * 8
        return part

    def numbers(self, count, folded):
        raw = self.section(count * 4)
        if not self.planes:
            values = array.array("i" if folded else "I")
            values.frombytes(raw)
            return values
        mixed = bytearray(count * 4)
        for plane in range(4):
            mixed[plane::4] = raw[plane * count:(plane + 1) * count]
        values = array.array("I")
        values.frombytes(bytes(mixed))
        if folded:
            return array.array("q", ((v >> 1) ^ -(v & 1) for v in values))
        return values

    def build(self):
        """The roots, and nothing else that would hold a node."""
        tracked = [bool(self.flags[i] & 1) or self.degree[i] > 0 for i in range(self.nodes)]
        nodes = [[] if is_tracked else float(i) for i, is_tracked in enumerate(tracked)]
        inside = array.array("I", bytes(4 * self.nodes))
        edge = 0
        for i in range(self.nodes):
            degree = self.degree[i]
            if degree:
                node = nodes[i]
                for delta in self.delta[edge:edge + degree]:
                    node.append(nodes[i + delta])
                    inside[i + delta] += 1
                edge += degree
        return [node for i, node in enumerate(nodes) if self.count[i] > inside[i]]


def young():
    head = None
    for _ in range(10000):
        head = [head, None]
    took = timed(lambda: gc.collect(0))[0]
    while head is not None:  # no recursion
        head = head[0]
    return took


def run_graph(path, options):
    name = os.path.basename(path).split(".")[0]
    graph = Graph(path)
    gc.disable()
    gc.collect()
    before = len(gc.get_objects())
    roots = graph.build()
    gc.collect()
    tracked = len(gc.get_objects()) - before
    report(name, "alive, full", median([timed(gc.collect)[0] for _ in range(options.repeat)]), tracked, graph.edges)
    report(name, "alive, 10^4 young", median([young() for _ in range(options.repeat)]), 10000)
    start = time.perf_counter()
    roots.clear()
    dropped = time.perf_counter() - start
    took, collected = timed(gc.collect)
    report(name, "dead: counts", dropped, graph.nodes - collected)
    report(name, "dead: collected", took, collected)
    report(name, "dead: all", dropped + took, graph.nodes)


class Node:
    """A node of the synthetic graphs: three references."""
    __slots__ = ("a", "b", "c")

    def __init__(self):
        self.a = self.b = self.c = None


def shape(name, count, random):
    nodes = [Node() for _ in range(count)]
    if name == "tree":
        for i in range(1, count):
            if i % 2:
                nodes[(i - 1) // 2].a = nodes[i]
            else:
                nodes[(i - 1) // 2].b = nodes[i]
    elif name == "random":
        for i in range(1, count):
            source = nodes[random.randrange(i)]
            if source.a is not None:
                source = nodes[i - 1]
            source.a = nodes[i]
        for node in nodes[:-1]:
            node.b = nodes[random.randrange(count)]
            node.c = nodes[random.randrange(count)]
    else:
        if name == "shuffled":
            rest = nodes[1:]
            random.shuffle(rest)
            nodes[1:] = rest
        for i in range(1, count):
            nodes[i - 1].a = nodes[i]
    nodes[-1].c = nodes[0]
    return nodes[0]


def run_shape(name, options):
    import random
    random.seed(1)
    count = options.nodes or 5000000
    gc.disable()
    root = shape(name, count, random)
    gc.collect()
    report(name, "alive, full", median([timed(gc.collect)[0] for _ in range(options.repeat)]), count)
    del root
    took, collected = timed(gc.collect)
    report(name, "dead, freed too", took, count)
    if collected != count:
        print("%s: %d objects collected of %d" % (name, collected, count), file=sys.stderr)


def run_cycles(options):
    count = options.nodes or 10000000
    gc.enable()
    start = time.perf_counter()
    for _ in range(count):
        a = Node()
        b = Node()
        a.a = b
        b.a = a
    report("cycles", "automatic", time.perf_counter() - start, count)


class Entry:
    __slots__ = ("newer", "older", "value", "key")


class Value:
    __slots__ = ("entry", "payload")


class Server:
    """The cache of ouro-graphs; the table is a dict."""

    def __init__(self, entries):
        self.entries = entries
        self.table = {}
        self.newest = self.oldest = None

    def remove(self, entry):
        newer, older = entry.newer, entry.older
        if newer is not None:
            newer.older = older
        else:
            self.newest = older
        if older is not None:
            older.newer = newer
        else:
            self.oldest = newer

    def push(self, entry):
        entry.newer = None
        entry.older = self.newest
        if self.newest is not None:
            self.newest.newer = entry
        else:
            self.oldest = entry
        self.newest = entry

    def request(self, key):
        entry = self.table.get(key)
        if entry is not None:
            self.remove(entry)
            self.push(entry)
            return
        if len(self.table) == self.entries:
            oldest = self.oldest
            self.remove(oldest)
            oldest.newer = oldest.older = None
            del self.table[oldest.key]
        entry = Entry()
        entry.key = key
        entry.value = value = Value()
        value.entry = entry
        value.payload = key
        self.table[key] = entry
        self.push(entry)


def run_server(options):
    import random
    random.seed(1)
    entries = options.nodes or 1000000
    server = Server(entries)
    gc.enable()
    for key in range(entries):
        server.request(key)
    times = []
    now = start = time.perf_counter()
    while now < start + options.seconds:
        server.request(int(random.random() * 2 * entries))
        last, now = now, time.perf_counter()
        times.append(now - last)
    times.sort()
    print("%-14s %-18s 1 thread: %.2f million operations a second" % ("server", "automatic, cpy", len(times) / (now - start) / 1e6))
    shares = (0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999)
    print("    an operation takes, in us:" + "".join(
        " %g%%: %.2f" % (share * 100, times[min(len(times) - 1, int(share * len(times)))] * 1e6) for share in shares)
        + ", at most %.0f" % (times[-1] * 1e6))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", help="files of graphs, or tree, list, random, shuffled, cycles, server")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    for what in options.what:
        if what in ("tree", "list", "random", "shuffled"):
            run_shape(what, options)
        elif what == "cycles":
            run_cycles(options)
        elif what == "server":
            run_server(options)
        else:
            run_graph(what, options)
    return 0


if __name__ == "__main__":
    # a deep structure is freed by recursion, up to the depth that CPython cuts it at: a large stack is on the safe side
    threading.stack_size(256 << 20)
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
