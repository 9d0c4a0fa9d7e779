"""What a Python program does to malloc (PYTHONMALLOC=malloc): everything at once, the same output every time."""
import bisect
import collections
import concurrent.futures
import ctypes
import decimal
import gc
import hashlib
import io
import json
import os
import pickle
import random
import re
import subprocess
import sys
import threading
import zlib

factor = int(sys.argv[1])
rng = random.Random(7)


def say(name, value):
    print(name, hashlib.sha256(repr(value).encode()).hexdigest()[:24], flush=True)


def library_is_there():
    wanted = os.environ.get("LD_PRELOAD")
    if wanted and wanted not in open("/proc/self/maps").read():
        sys.exit("the library is not in this process")


def structures():
    table = {f"key{rng.randrange(10**6)}": [rng.random() for _ in range(rng.randrange(20))] for _ in range(20000 * factor)}
    text = json.dumps(table, sort_keys=True)
    assert json.loads(text) == table
    data = pickle.dumps(table)
    assert pickle.loads(data) == table
    say("json", text)
    say("zlib", zlib.decompress(zlib.compress(text.encode(), 6)) == text.encode())
    words = re.findall(r"key(\d+)", text)
    say("words", collections.Counter(word[:2] for word in words).most_common())
    ordered = []
    for word in words[:20000]:
        bisect.insort(ordered, int(word))
    say("ordered", ordered)


def cycles():
    class Node:
        def __init__(self, payload):
            self.payload, self.peers = payload, []

    total = 0
    for round_number in range(5 * factor):
        nodes = [Node("x" * (i % 300)) for i in range(5000)]
        for i, node in enumerate(nodes):
            node.peers = [nodes[(i * 7 + k) % len(nodes)] for k in range(5)]
        total += sum(len(peer.payload) for node in nodes for peer in node.peers)
        del nodes, node
        gc.collect()
    say("cycles", total)


def numbers():
    value, decimal.getcontext().prec = 1, 2000
    for i in range(1, 3000):
        value *= i
    say("factorial", hex(value))
    say("root", str(decimal.Decimal(2).sqrt()))


def in_threads():
    def job(seed):
        own, kept = random.Random(seed), collections.deque(maxlen=500)
        for _ in range(20000):
            kept.append(bytes(own.randrange(3000)))
        return sum(map(len, kept))

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        say("threads", list(pool.map(job, range(12 * factor))))
    results = []
    lock = threading.Lock()

    def short(number):
        piece = "".join(chr(97 + (number * k) % 26) for k in range(200))
        with lock:
            results.append(piece)

    for batch in range(40):
        threads = [threading.Thread(target=short, args=(batch * 20 + k,)) for k in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    say("short threads", sorted(results))


def in_processes():
    outputs = []
    for number in range(10 * factor):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writer, hashlib.sha256(("f%d" % number * 100000).encode()).hexdigest().encode())
            os._exit(0)
        os.close(writer)
        outputs.append(os.read(reader, 100))
        os.close(reader)
        assert os.waitpid(pid, 0)[1] == 0
    say("forks", outputs)
    say("children", [subprocess.run(["echo", str(i)], capture_output=True, check=True).stdout for i in range(20)])


def foreign():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.realloc.restype = ctypes.c_void_p, ctypes.c_void_p
    libc.malloc.argtypes, libc.realloc.argtypes = [ctypes.c_size_t], [ctypes.c_void_p, ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    for size in (1, 100, 5000, 10**6, 10**8):
        block = libc.realloc(libc.malloc(size), size * 2)
        ctypes.memset(block, 7, size * 2)
        libc.free(block)
    stream = io.BytesIO()
    for i in range(50000):
        stream.write(b"%d," % i)
    say("stream", stream.getvalue())
    buffer = bytearray()
    for i in range(400):
        buffer += bytes([i % 256]) * (i * 50)
    say("buffer", bytes(buffer))


library_is_there()
for part in (structures, cycles, numbers, in_threads, in_processes, foreign):
    part()
