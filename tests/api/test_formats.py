"""api/test_formats.py PROGRAM LIBRARY: real parsers read what ouro_stats_write_json and _prometheus write.

The program does known things, says on stderr which, and writes the statistics. LIBRARY: ouro or malloc."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

PROGRAM, LIBRARY = sys.argv[1], sys.argv[2]


def run(*args, **changes):
    env = {k: v for k, v in os.environ.items() if not k.startswith("OURO_")}
    env.update(changes)
    return subprocess.run([PROGRAM, *args], capture_output=True, text=True, env=env, timeout=120)


def said(result):
    return dict(line.split("=", 1) for line in result.stderr.splitlines() if "=" in line)


class Json(unittest.TestCase):
    def setUp(self):
        result = run("json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(result.stdout.count("\n"), 1)
        self.known = said(result)
        self.stats = json.loads(result.stdout)

    def test_head(self):
        self.assertEqual(self.stats["schema"], 1)
        self.assertEqual(self.stats["library"], "libouro" if LIBRARY == "ouro" else "libouro_malloc")
        self.assertEqual(self.stats["pid"], int(self.known["pid"]))
        self.assertIs(self.stats["secure"], False)

    def test_known_blocks_are_there(self):
        classes = {c["size"]: c for c in self.stats["size_classes"]}
        self.assertEqual(len(classes), 72)
        mine = classes[int(self.known["class"])]
        if LIBRARY == "ouro":
            self.assertEqual(mine["living"], int(self.known["living"]))
            self.assertEqual((mine["mallocs"], mine["frees"]), (1000, 400))
            self.assertEqual(self.stats["large"]["living"], int(self.known["large"]))
            self.assertEqual(self.stats["large"]["bytes"], int(self.known["large_bytes"]))
        else:  # libc's own blocks are there, too
            self.assertGreaterEqual(mine["living"], int(self.known["living"]))
            self.assertGreaterEqual(self.stats["large"]["bytes"], int(self.known["large_bytes"]))
        self.assertEqual(self.stats["heaps"]["regions"], int(self.known["regions"]))
        self.assertEqual(self.stats["heaps"]["region_pools"], 1)

    def test_sums_agree(self):
        s, classes, large = self.stats, self.stats["size_classes"], self.stats["large"]
        self.assertEqual(s["mallocs"], sum(c["mallocs"] for c in classes) + large["mallocs"])
        self.assertEqual(s["frees"], sum(c["frees"] for c in classes) + large["frees"])
        self.assertEqual(s["allocated"], sum(c["living"] * c["size"] for c in classes) + large["bytes"])
        self.assertEqual(s["pools"], sum(c["pools"] for c in classes))
        self.assertEqual(s["pools"], sum(n["pools"] for n in s["nodes"]))
        self.assertEqual(sum(c["pool_bytes"] for c in classes), sum(n["pool_bytes"] for n in s["nodes"]))
        self.assertEqual(large["bytes"], sum(n["large_bytes"] for n in s["nodes"]))
        self.assertEqual(len(s["nodes"]), s["arenas"])
        self.assertEqual(s["threads"], s["heaps"]["threads"])
        for c in classes:
            self.assertEqual(c["living"], c["mallocs"] - c["frees"])
            self.assertLessEqual(c["living"] * c["size"], c["pool_bytes"])
        self.assertLessEqual(s["allocated"], s["peak_allocated"])
        self.assertLessEqual(s["resident"], s["committed"])

    def test_documented_members_and_no_others(self):
        path = os.path.join(os.path.dirname(__file__), "../../docs/formats.md")
        with open(path) as file:
            text = file.read()

        def check(value):
            if isinstance(value, dict):
                for key, inner in value.items():
                    self.assertIn(f"`{key}`", text)
                    check(inner)
            elif isinstance(value, list):
                for inner in value[:1]:
                    check(inner)
        check(self.stats)

    @unittest.skipUnless(LIBRARY == "ouro", "libouro_malloc has no collector")
    def test_collector(self):
        gc = self.stats["gc"]
        self.assertEqual([g["collections"] for g in gc["generations"]], [2, 1, 1])
        self.assertEqual([g["threshold"] for g in gc["generations"]], [701, 11, 12])
        self.assertEqual(gc["generations"][2]["collected"], int(self.known["collected"]))
        self.assertEqual(int(self.known["collected"]), 100)
        pauses = [g["pauses"] for g in gc["generations"]]
        self.assertEqual([p["count"] for p in pauses], [2, 1, 1])
        self.assertEqual(gc["stops"]["count"], 4)
        for p in pauses + [gc["stops"]]:
            self.assertEqual(sum(b["count"] for b in p["histogram"]), p["count"])
            bounds = [b["le_ns"] for b in p["histogram"]]
            self.assertEqual(bounds, sorted(bounds))
            self.assertGreaterEqual(bounds[-1], p["max_ns"])
            self.assertLessEqual(p["p50_ns"], p["p99_ns"])
            self.assertLessEqual(p["p999_ns"], p["max_ns"])
            self.assertGreaterEqual(p["total_ns"], p["max_ns"])
        self.assertEqual(gc["registered_threads"], 1)
        self.assertIs(gc["enabled"], False)

    @unittest.skipUnless(LIBRARY == "malloc", "libouro has one")
    def test_no_collector(self):
        self.assertNotIn("gc", self.stats)


class Prometheus(unittest.TestCase):
    def setUp(self):
        try:
            from prometheus_client.openmetrics.parser import text_string_to_metric_families
        except ImportError:
            if "OURO_TEST_ALL" in os.environ:
                raise
            self.skipTest("python3-prometheus-client is missing: scripts/setup test")
        with tempfile.NamedTemporaryFile() as file:
            result = run("both", file.name)
            text = file.read().decode()
        self.assertEqual(result.returncode, 0, result.stderr)
        line, text = text.split("\n", 1)
        self.stats = json.loads(line)
        self.text = text
        self.families = {f.name: f for f in text_string_to_metric_families(text)}

    def value(self, family, sample, **labels):
        found = [s.value for s in self.families[family].samples if s.name == sample and s.labels == labels]
        self.assertEqual(len(found), 1, (sample, labels))
        return found[0]

    def test_ends_as_it_has_to(self):
        self.assertTrue(self.text.endswith("# EOF\n"))

    def test_each_family_has_help(self):
        for family in self.families.values():
            self.assertTrue(family.documentation)

    def test_agrees_with_the_json(self):
        # The mapping of the file descriptor's text is not of the heap, and nobody else works: the same numbers.
        self.assertEqual(self.value("ouro_mallocs", "ouro_mallocs_total"), self.stats["mallocs"])
        self.assertEqual(self.value("ouro_frees", "ouro_frees_total"), self.stats["frees"])
        self.assertEqual(self.value("ouro_allocated_bytes", "ouro_allocated_bytes"), self.stats["allocated"])
        self.assertEqual(self.value("ouro_committed_bytes", "ouro_committed_bytes"), self.stats["committed"])
        for c in self.stats["size_classes"]:
            size = str(c["size"])
            self.assertEqual(self.value("ouro_class_mallocs", "ouro_class_mallocs_total", size=size), c["mallocs"])
            self.assertEqual(self.value("ouro_class_pools", "ouro_class_pools", size=size), c["pools"])
        for n in self.stats["nodes"]:
            node = str(n["node"])
            self.assertEqual(self.value("ouro_node_pool_bytes", "ouro_node_pool_bytes", node=node), n["pool_bytes"])
        self.assertEqual(self.value("ouro_heaps", "ouro_heaps", kind="thread"), self.stats["threads"])
        info = self.families["ouro_build"].samples[0]
        self.assertEqual(info.labels, {"library": self.stats["library"], "version": self.stats["version"]})

    @unittest.skipUnless(LIBRARY == "ouro", "libouro_malloc has no collector")
    def test_histograms(self):
        for generation in range(3):
            pauses = self.stats["gc"]["generations"][generation]["pauses"]
            label = str(generation)
            self.assertEqual(self.value("ouro_gc_pause_seconds", "ouro_gc_pause_seconds_count", generation=label),
                             pauses["count"])
            self.assertAlmostEqual(
                self.value("ouro_gc_pause_seconds", "ouro_gc_pause_seconds_sum", generation=label),
                pauses["total_ns"] / 1e9, places=9)
            buckets = [(float(s.labels["le"]), s.value) for s in self.families["ouro_gc_pause_seconds"].samples
                       if s.name.endswith("_bucket") and s.labels["generation"] == label]
            self.assertEqual(len(buckets), 26)
            for bound, count in buckets:
                below = sum(b["count"] for b in pauses["histogram"] if b["le_ns"] / 1e9 <= bound * (1 + 1e-12))
                self.assertEqual(count, below, bound)
        self.assertEqual(self.value("ouro_gc_collections", "ouro_gc_collections_total", generation="0"), 2)


class Errors(unittest.TestCase):
    def test_a_full_disk(self):
        for what in ("json", "prometheus"):
            result = run(what, "/dev/full")
            self.assertEqual(result.returncode, 1)
            self.assertEqual(said(result)["error"], "No space left on device")

    def test_hardened(self):
        result = run("json", OURO_SECURE="1")
        stats = json.loads(result.stdout)
        self.assertIs(stats["secure"], True)
        self.assertGreaterEqual(stats["heaps"]["quarantined"], 400)
        self.assertEqual(stats["mallocs"] - stats["frees"],
                         sum(c["living"] for c in stats["size_classes"]) + stats["large"]["living"])

    def test_tracing(self):
        self.assertEqual(json.loads(run("json").stdout)["trace"]["current"], 0)
        trace = json.loads(run("json", OURO_TRACE="5").stdout)["trace"]
        self.assertIs(trace["tracing"], True)
        self.assertGreaterEqual(trace["current"], 600 * 2000 + 3 * 300000)
        self.assertGreaterEqual(trace["peak"], trace["current"] + 400 * 2000 - 3 * 300000)
        self.assertGreater(trace["overhead"], 0)

    def test_at_exit_the_same_writer(self):
        result = run("json", OURO_STATS_AT_EXIT="json")
        report = json.loads(result.stderr.splitlines()[-1])
        self.assertEqual(set(report), set(json.loads(result.stdout)))

    def test_at_exit_into_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            result = run("json", OURO_STATS_AT_EXIT="json", OURO_STATS_FILE=f"{folder}/of-%p.json")
            self.assertEqual(os.listdir(folder), [f"of-{said(result)['pid']}.json"])
            with open(f"{folder}/of-{said(result)['pid']}.json") as file:
                self.assertEqual(json.load(file)["pid"], int(said(result)["pid"]))
            self.assertNotIn("schema", result.stderr)
            result = run("json", OURO_STATS_AT_EXIT="text", OURO_STATS_FILE=f"{folder}/no/such")
            self.assertEqual(result.returncode, 0)
            self.assertIn("ouro: OURO_STATS_FILE: cannot open", result.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + ["-v"])
