"""tests/tool/test_graph.py: `ouro graph`: of programs whose cycles are known, of files made here, and of files that are wrong."""
import html.parser
import json
import os
import re
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib

from tool import BUILD, SANITIZE, environment, on_terminal, ouro

PRELOAD = os.environ.get("OURO_TEST_PRELOAD")


def number(value):
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def fold(difference):
    return 2 * difference if difference >= 0 else -2 * difference - 1


def text(value):
    return number(len(value)) + value


def chunk(kind, payload):
    return kind + struct.pack("<IQ", zlib.crc32(payload), len(payload)) + payload


def graph_file(types, objects, version=1, more=b""):
    """types: {number: (name, size)}; objects: (address, type, count, [referents])."""
    out = b"\x89OUROGR\n" + struct.pack("<II", version, 0)
    info = number(42) + number(1700000000) + number(1500000) + text(b"0.1.0") + text(b"a \"program\" </script>\n")
    out += chunk(b"INFO", info)
    out += chunk(b"TYPE", b"".join(number(n) + number(size) + number(0) + number(1) + text(name)
                                   for n, (name, size) in types.items()))
    payload, last, references = bytearray(), 0, 0
    for address, kind, count, referents in objects:
        payload += number(7) + number(types[kind][1])
        payload += bytes([0 | 8 | 32]) + number(fold(address // 16 - last)) + number(kind) + number(count)
        last = at = address // 16
        for referent in referents:
            payload += number(fold(referent // 16 - at) + 1)
            at = referent // 16
            references += 1
        payload += b"\0"
    out += chunk(b"OBJS", bytes(payload)) + more
    return out + chunk(b"END ", number(len(objects)) + number(references))


# A table held twice from outside, with two entries; both share a value; and a pair that nothing holds.
A, B, C, D, E, F = (0x7f0000000000 + 0x40 * i for i in range(6))
KNOWN = ({1: (b"table", 64), 2: (b"entry", 48), 3: (b"value", 1024)},
         [(A, 1, 2, [B, C]), (B, 2, 1, [D]), (C, 2, 1, [D]), (D, 3, 2, []), (E, 2, 1, [F]), (F, 2, 1, [E])])


class Page(html.parser.HTMLParser):
    """That tags are closed in order; what there is outside of the page; the data."""
    EMPTY = {"meta", "input", "br"}

    def __init__(self, source):
        super().__init__()
        self.open, self.outside, self.data, self.ids = [], [], "", set()
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("src", "href") and not value.startswith("#"):
                self.outside.append(value)
            if name == "id":
                self.ids.add(value)
        if tag not in self.EMPTY:
            self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag, tag

    def handle_data(self, data):
        if self.open and self.open[-1][1].get("id") == "data":
            self.data += data


class Graph(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def path(self, name="graph"):
        return os.path.join(self.folder.name, name)

    def write(self, content, name="graph"):
        with open(self.path(name), "wb") as file:
            file.write(content)
        return self.path(name)

    def known(self):
        return self.write(graph_file(*KNOWN))

    def json(self, *args):
        done = ouro("graph", "--json", *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    # Known graphs.

    def test_known_graph_as_json(self):
        found = self.json("--top", "0", self.known())
        self.assertEqual((found["objects"], found["references"], found["roots"], found["reached"]), (6, 6, 1, 4))
        self.assertEqual((found["pid"], found["time"], found["pause_ns"]), (42, 1700000000, 1500000))
        self.assertEqual(found["program"], "a \"program\" </script>\\x0a")
        self.assertEqual(found["reached_bytes"], 64 + 48 + 48 + 1024)
        self.assertEqual({t["name"]: (t["objects"], t["bytes"], t["retained_bytes"]) for t in found["types"]},
                         {"table": (1, 64, 1184), "entry": (4, 192, 96), "value": (1, 1024, 1024)})
        self.assertEqual([(int(o["address"], 16), o["retained_bytes"], o["dominator"] and int(o["dominator"], 16))
                          for o in found["biggest"]],
                         [(A, 1184, None), (D, 1024, A), (B, 48, A), (C, 48, A)])
        self.assertEqual(found["biggest"][0]["outside"], 2)
        self.assertEqual((found["cycles"]["count"], found["cycles"]["objects"]), (1, 2))
        self.assertEqual(found["cycles"]["biggest"],
                         [{"objects": 2, "bytes": 96, "outside": 0, "held": "garbage", "lowest_address": hex(E),
                           "types": "2 entry"}])

    def test_tables(self):
        done = ouro("graph", self.known())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
        for line in ("6 objects, 1.25 KiB, 6 references; 1 held from outside",
                     "2 objects, 96 B, are held by nothing from outside: garbage until they are collected",
                     "1 64 B 64 B 1.16 KiB 100.0% table",
                     "4 192 B 48 B 96 B 8.1% entry",
                     "1.16 KiB 100.0% 64 B 2 0x7f0000000000 table",
                     "1 of 2 objects, 96 B", "2 96 B garbage 0x7f0000000100 2 entry"):
            self.assertIn(line, shown)
        self.assertNotIn("\033", done.stdout)
        self.assertIn("\033[1m", on_terminal("graph", self.known()))

    def test_top(self):
        done = ouro("graph", "--top", "1", self.known())
        self.assertIn("  and 2 types more\n", done.stdout)
        self.assertEqual(len(self.json("-n1", self.known())["biggest"]), 1)

    def test_why(self):
        done = ouro("graph", self.known(), "--why", "value", "--why", "ent*", "--why", hex(E))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        way = ("    table 0x7f0000000000, 64 B, 2 references from outside\n"
               "      -> entry 0x7f0000000040, 48 B\n")
        self.assertIn("\nvalue\n  1 object, 1.00 KiB, held like this:\n" + way +
                      "        -> value 0x7f00000000c0, 1.00 KiB\n", done.stdout)
        self.assertIn("\nent*\n  2 objects, 96 B, held like this:\n" + way + "  2 objects, 0x7f0000000100 for one, held by "
                      "nothing from outside: garbage until collected\n", done.stdout)
        self.assertIn("\n0x7f0000000100\n  1 object, 0x7f0000000100 for one, held by nothing", done.stdout)
        found = self.json(self.known(), "--why", "value")["why"][0]
        self.assertEqual([int(o["address"], 16) for o in found["ways"][0]["path"]], [A, B, D])
        for what in ("nothing", "0x10", "0x7f0000000001", "0x"):
            done = ouro("graph", self.known(), "--why", what)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"^ouro: there (is no object at|are no objects of a type) [^\n]*\n$")

    def test_long_lists(self):
        count = 200000
        objects = [(0x10000 + 16 * i, 1, 1, [0x10000 + 16 * (i + 1)] if i + 1 < count else []) for i in range(count)]
        path = self.write(graph_file({1: (b"link", 16), }, objects))
        found = self.json(path)
        self.assertEqual(found["biggest"][0]["retained_bytes"], 16 * count)
        self.assertEqual(found["types"][0]["retained_bytes"], 16 * count)
        done = ouro("graph", path, "--why", hex(0x10000 + 16 * (count - 1)))
        self.assertIn("... 199,976 more ...", done.stdout)
        objects[-1] = (objects[-1][0], 1, 1, [objects[0][0]])
        found = self.json(self.write(graph_file({1: (b"link", 16), }, objects)))
        self.assertEqual(found["cycles"]["biggest"][0]["objects"], count)

    def test_dangling_references(self):
        path = self.write(graph_file({1: (b"node", 32)}, [(0x1000, 1, 1, [0x2000, 0x1000000])]))
        self.assertEqual(self.json(path)["dangling"], 2)
        self.assertIn("2 references lead to no object", ouro("graph", path).stdout)

    def test_standard_input(self):
        from tool import TOOL
        done = subprocess.run([TOOL, "graph", "-"], input=graph_file(*KNOWN), capture_output=True, env=environment())
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"6 objects", done.stdout)

    def test_nothing(self):
        path = self.write(graph_file({}, []))
        self.assertEqual(self.json(path)["objects"], 0)
        done = ouro("graph", path, "--html", self.path("h"), "--dot", self.path("d"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    # Names that mean something elsewhere.

    HOSTILE = b"a\"b\\c</script><img src=x onerror=alert(1)>\n\x1b[31m\xff\xe2\x80\xae%s&amp;"
    SHOWN = "a\"b\\c</script><img src=x onerror=alert(1)>\\x0a\\x1b[31m\\xff\\xe2\\x80\\xae%s&amp;"

    def hostile(self):
        return self.write(graph_file({1: (self.HOSTILE, 32)}, [(0x1000, 1, 3, [0x1000, 0x2000]), (0x2000, 1, 1, [])]))

    def test_hostile_names(self):
        self.assertEqual(self.json(self.hostile())["types"][0]["name"], self.SHOWN)
        shown = ouro("graph", self.hostile()).stdout
        self.assertIn(self.SHOWN, shown)
        self.assertNotIn("\033", shown)

    # What is drawn.

    def check_dot(self, path, objects):
        with open(path) as file:
            source = file.read()
        self.assertEqual(len(re.findall(r"^  n\d+ \[label=", source, re.M)), objects)
        if shutil.which("dot"):
            subprocess.run(["dot", "-Tsvg", path, "-o", path + ".svg"], check=True, capture_output=True)
            self.assertGreater(os.path.getsize(path + ".svg"), 500)
        return source

    def test_dot(self):
        done = ouro("graph", self.known(), "--dot", self.path("known.dot"))
        self.assertEqual(done.returncode, 0, done.stderr)
        source = self.check_dot(self.path("known.dot"), 4)
        self.assertIn('outside -> n0 [label="2"];', source)
        self.assertIn("n1 -> n3;", source)
        ouro("graph", self.known(), "--dot", self.path("known.dot"), "--top", "1", "--why", "value")
        self.check_dot(self.path("known.dot"), 3)
        ouro("graph", self.hostile(), "--dot", self.path("hostile.dot"))
        self.check_dot(self.path("hostile.dot"), 2)

    def check_page(self, path):
        with open(path, encoding="utf-8") as file:
            page = Page(file.read())
        self.assertEqual(page.open, [])
        self.assertEqual(page.outside, [])
        self.assertLessEqual({"data", "main", "find", "title"}, page.ids)
        data = json.loads(page.data)
        for one in data["objects"]:
            self.assertEqual(len(one), 12)
            self.assertLess(one[0], len(data["names"]))
            for at in [one[6], one[7], *one[8], *one[10]]:
                self.assertLess(at, len(data["objects"]))
            self.assertLessEqual(len(one[8]), one[9])
            self.assertLessEqual(len(one[10]), one[11])
        return data

    def test_page(self):
        done = ouro("graph", self.known(), "--html", self.path("known.html"))
        self.assertEqual(done.returncode, 0, done.stderr)
        data = self.check_page(self.path("known.html"))
        places = {one[1]: i for i, one in enumerate(data["objects"])}
        value = data["objects"][places[hex(D)]]
        self.assertEqual((value[3], value[6], value[9], value[11]), (1024, places[hex(A)], 0, 2))
        self.assertEqual(sorted(value[10]), sorted([places[hex(B)], places[hex(C)]]))
        self.assertEqual(data["objects"][places[hex(E)]][6:8], [-2, -2])
        self.assertEqual(data["types"][0][:3], [0, 1, 64])
        ouro("graph", self.hostile(), "--html", self.path("hostile.html"))
        self.assertEqual(self.check_page(self.path("hostile.html"))["names"], [self.SHOWN])

    def test_page_is_bounded(self):
        count = 60000
        objects = [(0x10000 + 16 * i, 1, 1, [0x10000 + 16 * j for j in (2 * i + 1, 2 * i + 2) if j < count] + [0x10000])
                   for i in range(count)]
        objects[0] = (0x10000, 1, count + 2, objects[0][3])
        ouro("graph", self.write(graph_file({1: (b"node", 16)}, objects)), "--html", self.path("big.html"))
        self.assertLess(os.path.getsize(self.path("big.html")), 6 << 20)
        self.assertGreater(len(self.check_page(self.path("big.html"))["objects"]), 3000)

    # Files that are wrong.

    def refused(self, content, why):
        done = ouro("graph", self.write(content, "wrong"))
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertEqual(done.stderr, f"ouro: {self.path('wrong')} {why}\n")

    def test_wrong_files(self):
        whole = graph_file(*KNOWN)
        self.refused(b"", "is no object graph")
        self.refused(b"\x7fELF" + whole, "is no object graph")
        self.refused(b"ouro-graph 1\n", "is no object graph")
        for length in list(range(1, len(whole), 7)) + [len(whole) - 1]:
            self.refused(whole[:length], "was cut")
        self.refused(graph_file(*KNOWN, version=2), "is of a newer version than this tool knows")
        self.refused(graph_file(*KNOWN, version=0), "is damaged")
        self.refused(whole + b"x", "is damaged")
        for at in (34, whole.index(b"table"), whole.index(b"OBJS") + 4, whole.index(b"OBJS") + 20, len(whole) - 1):
            self.refused(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:], "is damaged")
        # Whole by their checksums, and yet wrong.
        for payload in (b"\x08", b"\x80", b"\x0d\x02\x01", b"\x08\x02\x63\x00", b"\x08\x02\x01\x05", b"\x07" + b"\xff" * 10,
                        b"\x08" + number(1 << 63) + b"\x01\x00", b"\x08" + number(fold(A // 16)) + b"\x01\x00"):
            self.refused(graph_file(*KNOWN, more=chunk(b"OBJS", payload)), "is damaged")
        done = ouro("graph", self.path("there is none"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("No such file", done.stderr)
        done = ouro("graph", self.folder.name)
        self.assertEqual(done.returncode, 1)

    def test_outputs_that_fail(self):
        for option in ("--dot", "--html"):
            done = ouro("graph", self.known(), option, "/dev/full")
            self.assertEqual(done.returncode, 1)
            self.assertIn("cannot write /dev/full", done.stderr)
            self.assertEqual(ouro("graph", self.known(), option, self.path("no/such")).returncode, 1)

    def test_wrong_usage(self):
        for args in ([], ["a", "b"], ["--what", "a"], ["--top", "x", "a"], ["--top", "-1", "a"], ["--why"]):
            done = ouro("graph", *args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn("Try 'ouro graph --help'", done.stderr)
        self.assertIn("Examples:", ouro("graph", "--help").stdout)

    # Programs.

    def dumped(self, example, **variables):
        """The graph that an example has before it first collects by hand."""
        path = self.path(example)
        env = environment(LD_PRELOAD=PRELOAD, DUMP_FIRST=path, **variables)
        subprocess.run([os.path.join(BUILD, "examples", "example_" + example)], env=env, check=True, capture_output=True)
        return path

    @unittest.skipIf(SANITIZE or not PRELOAD, "nothing can be preloaded before a sanitizer")
    def test_examples(self):
        path = self.dumped("circular")
        cycles = self.json(path)["cycles"]
        self.assertEqual((cycles["count"], cycles["objects"]), (3, 6))
        for cycle in cycles["biggest"]:
            self.assertEqual((cycle["held"], cycle["types"]), ("garbage", "2 circular_ref"))
        done = ouro("graph", path, "--why", "circular_ref")
        self.assertRegex(done.stdout, r"\n  6 objects, 0x[0-9a-f]+ for one, held by nothing from outside")
        for example in ("friends", "finalizers", "orphans", "generations"):
            path = self.dumped(example)
            found = self.json(path, "--top", "0")
            self.assertEqual(found["dangling"], 0, example)
            self.assertGreater(found["objects"], 0, example)
            for kind in found["types"]:
                done = ouro("graph", path, "--why", kind["name"])
                self.assertEqual(done.returncode, 0, done.stderr)
        friends = self.json(self.dumped("friends"), "--top", "0")
        self.assertGreater(friends["cycles"]["count"], 0)

    def test_find_leak(self):
        subprocess.run([os.path.join(BUILD, "examples", "example_find_leak"), self.path("leak")], env=environment(),
                       check=True, capture_output=True)
        found = self.json(self.path("leak"), "--why", "session", "--why", "log")
        for why, last in zip(found["why"], ("session", "log")):
            self.assertEqual((why["unreached"], len(why["ways"])), (0, 1))
            self.assertEqual(why["ways"][0]["objects"], 10)
            self.assertEqual([o["type"] for o in why["ways"][0]["path"]], ["timer", "session", "log"][:3 if last == "log" else 2])
        found = self.json(self.path("leak"))
        self.assertEqual({c["held"] for c in found["cycles"]["biggest"]}, {"by others"})


if __name__ == "__main__":
    unittest.main()
