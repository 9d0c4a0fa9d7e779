"""tests/tool/test_top.py: `ouro top`: what it reads out of a process is what the process says of itself."""
import json
import os
import re
import subprocess
import unittest

from tool import BUILD, SANITIZE, TOOL, environment, on_terminal, ouro

BUSY = os.environ["OURO_TEST_BUSY"]
OTHER_VERSION = os.environ["OURO_TEST_OTHER_VERSION"]
KNOWN = os.environ["OURO_TEST_KNOWN"].split(":")  # programs, linked in all ways


class Running:
    """A program that runs as long as the block does; `first` is its first line."""

    def __init__(self, *args, **changes):
        self.args, self.changes = args, changes

    def __enter__(self):
        self.child = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True, env=environment(**self.changes))
        self.first = self.child.stdout.readline()
        self.pid = self.child.pid
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.stdout.close()
        self.child.wait(timeout=60)


def number(text):
    return int(text.replace(",", ""))


class Quiet(unittest.TestCase):
    """Of a process that does nothing, all numbers are exact."""

    def check(self, program, **changes):
        with Running(program, "wait", **changes) as running:
            stats = json.loads(running.first)
            result = ouro("top", "--once", running.pid)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        text = result.stdout
        self.assertIn(f"({running.pid})  {stats['library']} {stats['version']}", text)
        totals = re.search(r"\nmallocs +([\d,]+)  frees ([\d,]+) ", text)
        living = re.search(r"\nallocated .* in ([\d,]+) blocks\n", text)
        # The walk through the process's memory comes after the last thing that the process did to its heap.
        self.assertEqual(number(totals[1]), stats["mallocs"])
        self.assertEqual(number(totals[2]), stats["frees"])
        self.assertEqual(number(living[1]), stats["mallocs"] - stats["frees"])
        self.assertIn(f", {stats['threads']} with a heap\n", text)
        self.assertIn(f"; {stats['pools']} pools of smaller ones\n", text)
        classes = {c["size"]: c for c in stats["size_classes"] if c["pools"]}
        rows = {int(m[0]): [number(x) for x in m[1:]] for m in re.findall(
            r"(?m)^ *(\d+) +([\d,]+) +[\d.,]+ [KMG]?i?B +([\d,]+) +([\d,]+) +([\d,]+) +[\d.]+%$", text)}
        self.assertEqual({size: [c["living"], c["mallocs"], c["frees"], c["pools"]] for size, c in classes.items()},
                         rows)
        if "gc" in stats:
            generations = stats["gc"]["generations"]
            self.assertIn("\ncollections " + " / ".join(str(g["collections"]) for g in generations) + " of", text)
            self.assertIn(f"\ncollected  {sum(g['collected'] for g in generations)} objects", text)
        else:
            self.assertNotIn("collections", text)

    def test_all_ways_to_link(self):
        for program in KNOWN:
            with self.subTest(os.path.basename(program)):
                self.check(program)

    @unittest.skipIf(SANITIZE, "the drop-in of a sanitizer's build cannot be preloaded")
    def test_both_libraries(self):
        both = os.path.join(BUILD, "lib/libouro_malloc.so")
        with Running(KNOWN[0], "wait", LD_PRELOAD=both) as running:
            for name in ("libouro", "libouro_malloc"):
                result = ouro("top", "--once", "--library", name, running.pid)
                self.assertIn(f"({running.pid})  {name} ", result.stdout)
                self.assertEqual("collections" in result.stdout, name == "libouro")
            result = ouro("top", "--once", "--library", "libfoo", running.pid)
            self.assertEqual((result.returncode, result.stderr), (1, f"ouro: process {running.pid} has no libfoo\n"))

    def test_library_deleted_meanwhile(self):
        program = KNOWN[0]
        copy = program + "-gone"
        subprocess.run(["cp", program, copy], check=True)
        with Running(copy, "wait") as running:
            os.remove(copy)
            self.assertIn(" libouro ", ouro("top", "--once", running.pid).stdout)


class Busy(unittest.TestCase):
    def test_batch(self):
        with Running(BUSY) as running:
            result = ouro("top", "--batch", "--interval", "0.2", "--count", "5", running.pid)
        lines = result.stdout.splitlines()
        self.assertEqual((result.returncode, len(lines)), (0, 6), result.stderr)
        heads = lines[0].split()[1:]
        rows = [dict(zip(heads, line.split())) for line in lines[1:]]
        for row in rows:
            self.assertEqual(len(row), len(heads))
            self.assertGreater(int(row["rss_kib"]), 0)
            self.assertGreaterEqual(int(row["committed_kib"]), int(row["resident_kib"]))
            self.assertGreaterEqual(int(row["threads"]), 5)
        self.assertGreater(max(float(row["mallocs/s"]) for row in rows), 1000)
        self.assertGreater(max(float(row["frees/s"]) for row in rows), 1000)
        self.assertGreater(max(float(row["collections/s"]) for row in rows), 0)
        self.assertGreater(int(rows[-1]["longest_pause_us"]), 0)

    def test_the_terminal_is_left_as_it_was(self):
        with Running(BUSY) as running:
            text = on_terminal("top", "--interval", "0.1", "--count", "3", running.pid, LINES="30")
        self.assertTrue(text.startswith("\033[?1049h\033[?25l"))
        self.assertTrue(text.endswith("\033[?25h\033[?1049l"), repr(text[-60:]))
        screens = text.split("\033[H")[1:]
        self.assertEqual(len(screens), 4)
        for screen in screens:
            self.assertLessEqual(screen.count("\n"), 29)
        self.assertIn("mallocs/s", screens[-1])
        self.assertIn("stopped for", screens[-1])

    def test_the_process_ends(self):
        with Running(BUSY) as running:
            watcher = subprocess.Popen([TOOL, "top", "--batch", "--interval", "0.1", str(running.pid)],
                                       env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            watcher.stdout.readline()
            watcher.stdout.readline()
        text = watcher.communicate(timeout=60)[1]
        self.assertEqual((watcher.returncode, text), (0, f"ouro: process {running.pid} has ended\n"))


class Refused(unittest.TestCase):
    def refused(self, status, pattern, *args):
        result = ouro("top", *args)
        self.assertEqual((result.returncode, result.stdout), (status, ""))
        self.assertRegex(result.stderr, pattern)

    def test_no_such_process(self):
        child = subprocess.Popen(["true"])
        child.wait()
        self.refused(1, rf"\Aouro: there is no process {child.pid}\n\Z", "--once", child.pid)

    def test_no_library(self):
        child = subprocess.Popen(["sleep", "60"])
        try:
            self.refused(1, rf"\Aouro: process {child.pid} \((sleep|python3?)\) has no library of Ouroboros in it, or has not started "
                         r"yet\n\Z", child.pid)
        finally:
            child.kill()
            child.wait()

    def test_other_version(self):
        with Running(OTHER_VERSION) as running:
            self.refused(1, rf"\Aouro: libouro in process {running.pid} is of version 99.1.2, whose memory this version of the tool "
                         r"\([\d.]+\) cannot read\n\Z", "--once", running.pid)

    def test_another_users(self):
        if os.getuid() != 0:
            self.refused(1, r"no permission to look into process 1:", "1")
            return
        copy = subprocess.run(["mktemp"], capture_output=True, text=True, check=True).stdout.strip()
        try:  # where another user may run it
            subprocess.run(["cp", TOOL, copy], check=True)
            os.chmod(copy, 0o755)
            result = subprocess.run([copy, "top", "--once", str(os.getpid())], env=environment(), user=65534,
                                    extra_groups=[], group=65534, capture_output=True, text=True)
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"ouro: no permission to look into process {os.getpid()}:", result.stderr)
        finally:
            os.remove(copy)

    def test_wrong_usage(self):
        for args in ((), ("1", "2"), ("nginx",), ("--interval", "0", "1"), ("--interval", "x", "1"), ("--count", "0", "1")):
            self.refused(2, r"\Aouro: .*\nTry 'ouro top --help'.\n\Z", *args)


if __name__ == "__main__":
    unittest.main()
