"""tests/tool/test_snapshot.py: `ouro snapshot` over what make_snapshot.c wrote: tables, differences, exports, messages."""
import gzip
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree
import zlib

from tool import on_terminal, ouro

MAKE = os.environ["OURO_TEST_MAKE_SNAPSHOT"]
HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "make_snapshot.c")
SVG = "{http://www.w3.org/2000/svg}"
MIB = 1024 * 1024

LEAK = 6000000
TEXTS = sum(640000 * (i + 1) for i in (0, 1, 2, 2, 3))
HEADERS = TEXTS // 2
NODES = sum(100000 * (depth + 1) for last in (0, 1, 2, 2, 3) for depth in range(last + 1))
TOTAL = LEAK + TEXTS + HEADERS + NODES


def line_of(mark):
    with open(SOURCE) as source:
        return next(number for number, line in enumerate(source, 1) if f"/* {mark} */" in line)


def rows(text):
    """The cells of each row of the table, columns told apart by two spaces."""
    body = text.split("\n\n", 1)[1]
    return [re.split(r" {2,}", line.strip()) for line in body.splitlines() if line]


class Snapshot(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="ouro-snapshot-")
        cls.old, cls.now = cls.path("old.ouro"), cls.path("now.ouro")
        subprocess.run([MAKE, cls.old], check=True)
        subprocess.run([MAKE, cls.now, "3"], check=True)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def show(self, *args, **changes):
        result = ouro("snapshot", *args, **changes)
        self.assertEqual((result.returncode, result.stderr), (0, ""), result.stdout)
        return result.stdout

    def fails(self, *args):
        result = ouro("snapshot", *args)
        self.assertEqual((result.returncode, result.stdout), (1, ""))
        self.assertEqual(len(result.stderr.splitlines()), 1)
        return result.stderr

    # Tables.

    def test_the_leak_has_its_line(self):
        text = self.show(self.now)
        self.assertIn(MAKE, text.splitlines()[0])
        self.assertIn("every allocation", text.splitlines()[1])
        heads, first, *rest = rows(text)
        self.assertEqual(heads, ["SIZE", "%", "BLOCKS", "EACH", "WHERE", "FUNCTION"])
        self.assertEqual(first[0], "17.2 MiB")
        self.assertEqual(first[2], "1,800")
        self.assertTrue(first[4].endswith(f"make_snapshot.c:{line_of('leak')}"))
        self.assertEqual(first[5], "remember_session")
        self.assertEqual([row[5] for row in rest], ["copy_text", "parse_header", "parse_body"])
        self.assertTrue(rest[0][4].endswith(f":{line_of('texts')}"))
        self.assertTrue(rest[2][4].endswith(f":{line_of('nodes')}"))

    def test_by_each_key(self):
        for key, names in {"function": ["copy_text", "remember_session", "parse_header", "parse_body"],
                           "type": ["(plain blocks)", "session", "header", "node"], "file": [SOURCE]}.items():
            with self.subTest(key):
                self.assertEqual([row[-1] for row in rows(self.show(self.old, "--by", key))[1:]], names)

    def test_tracebacks_show_inlined_functions(self):
        text = self.show(self.old, "--by=traceback", "--top=2")
        first = text.split("#2")[0]
        self.assertRegex(first, r"#1  5\.72 MiB in 600 blocks, .*\[session\]")
        functions = re.findall(r"  (\w+)\n", first)
        self.assertEqual(functions[:3], ["remember_session", "serve", "serve_more"])
        self.assertIn("main", functions)
        second = text.split("#2")[1]
        self.assertRegex(second, rf"make_snapshot\.c:{line_of('texts')} +copy_text \(inlined\)\n")
        self.assertRegex(second, rf"make_snapshot\.c:{line_of('headers')} +parse_header\n")
        self.assertRegex(text, r"\.\.\. and \d+ more: ")

    def test_top(self):
        self.assertEqual(len(rows(self.show(self.old, "-n", "1"))), 3)  # heads, one, what is left out
        self.assertIn("... and 3 more: 12.2 MiB", self.show(self.old, "--top", "1"))
        self.assertNotIn("more", self.show(self.old, "--top", "0"))

    def test_difference(self):
        text = self.show(self.now, "--diff", self.old)
        self.assertIn(f"+11.4 MiB since {self.old}", text)
        heads, first, *rest = rows(text)
        self.assertEqual(first[:4], ["+11.4 MiB", "+1200", "17.2 MiB", "1,800"])
        self.assertEqual(first[5], "remember_session")
        self.assertTrue(all(row[0] == "=" and row[1] == "+0" for row in rest))
        first = rows(self.show(self.old, "--diff", self.now))[1]
        self.assertEqual(first[:2], ["-11.4 MiB", "-1200"])
        self.assertIn("#1  +11.4 MiB  +1200 blocks", self.show(self.now, "-d", self.old, "--by", "traceback"))

    def test_filters(self):
        self.assertEqual(len(rows(self.show(self.old, "--filter", "make_snapshot.c"))), 5)
        self.assertEqual(len(rows(self.show(self.old, "--filter", "*/nothing/*"))), 1)
        self.assertEqual(len(rows(self.show(self.old, "--filter", "!make_*"))), 1)
        self.assertEqual(len(rows(self.show(self.old, "-f", "*.c", "-f", "!*/other/*"))), 5)

    def test_colours_on_a_terminal_only(self):
        self.assertNotIn("\033", self.show(self.now, "--diff", self.old, TERM="xterm"))
        self.assertIn("\033[", on_terminal("snapshot", self.now, "--diff", self.old))

    # Exports.

    def test_folded(self):
        out = self.path("folded")
        self.assertEqual(self.show(self.old, "--folded", out), "")
        with open(out) as file:
            lines = [line.rsplit(" ", 1) for line in file.read().splitlines()]
        self.assertEqual(sum(int(size) for _, size in lines), TOTAL)
        sizes = {stack: int(size) for stack, size in lines}
        self.assertEqual(len(sizes), len(lines))
        leaks = {stack: size for stack, size in sizes.items() if stack.endswith(";serve;remember_session")}
        self.assertEqual(list(leaks.values()), [LEAK])
        self.assertIn(";main;", list(leaks)[0])
        inner = sum(size for stack, size in sizes.items() if stack.endswith(";serve;parse_header;copy_text"))
        self.assertEqual(inner, TEXTS)

    def read_profile(self, path):
        """The profile as protoc tells it: name of function by id, and (value, [functions innermost first]) of samples."""
        with gzip.open(path) as file:
            text = subprocess.run(["protoc", f"--proto_path={HERE}", "--decode=profile.Profile", "profile.proto"],
                                  input=file.read(), capture_output=True, check=True).stdout.decode()
        self.assertNotRegex(text, r"(?m)^ *\d+:")  # fields that the format does not know
        return text

    @unittest.skipUnless(shutil.which("protoc"), "protoc is missing")
    def test_pprof(self):
        out = self.path("profile.pb.gz")
        self.assertEqual(self.show(self.old, "--pprof", out), "")
        text = self.read_profile(out)
        strings = re.findall(r'(?m)^string_table: "(.*)"$', text)
        self.assertEqual(strings[0], "")
        blocks = {name: re.findall(rf"(?ms)^{name} {{\n(.*?)^}}", text)
                  for name in ("sample_type", "sample", "mapping", "location", "function", "period_type")}

        def numbers(block, field):
            return [int(n) for n in re.findall(rf"(?m)^ +{field}: (\d+)$", block)]

        types = [(strings[numbers(b, "type")[0]], strings[numbers(b, "unit")[0]]) for b in blocks["sample_type"]]
        self.assertEqual(types, [("inuse_objects", "count"), ("inuse_space", "bytes")])
        functions = {numbers(b, "id")[0]: strings[numbers(b, "name")[0]] for b in blocks["function"]}
        locations = {numbers(b, "id")[0]: [functions[f] for f in numbers(b, "function_id")] for b in blocks["location"]}
        sums = {}
        for sample in blocks["sample"]:
            count, size = numbers(sample, "value")
            stack = [name for location in numbers(sample, "location_id") for name in locations[location]]
            label = [strings[n] for n in numbers(sample, "str")]
            key = (stack[0], label[0] if label else None)
            sums[key] = sums.get(key, 0) + size
            self.assertIn("main", stack)
            self.assertEqual("copy_text" in stack, "parse_header" in stack and not label)
        self.assertEqual(sums, {("copy_text", None): TEXTS, ("parse_header", "header"): HEADERS,
                                ("parse_body", "node"): NODES, ("remember_session", "session"): LEAK})
        program = [b for b in blocks["mapping"] if strings[numbers(b, "filename")[0]] == MAKE][0]
        notes = subprocess.run(["readelf", "-n", MAKE], capture_output=True, text=True, check=True).stdout
        self.assertEqual(strings[numbers(program, "build_id")[0]], re.search(r"Build ID: (\w+)", notes).group(1))
        self.assertIn("has_inline_frames: true", program)
        start, end = numbers(program, "memory_start")[0], numbers(program, "memory_limit")[0]
        where = {numbers(b, "id")[0]: numbers(b, "address")[0] for b in blocks["location"]
                 if numbers(b, "mapping_id") == numbers(program, "id")}
        self.assertTrue(where and all(start <= address < end for address in where.values()))
        self.assertEqual(numbers(text.replace("\nperiod:", "\n period:"), "period"), [1])

    def test_flame_graph_adds_up(self):
        out = self.path("flame.svg")
        self.assertEqual(self.show(self.now, "--flamegraph", out), "")
        root = xml.etree.ElementTree.parse(out).getroot()
        self.assertEqual(root.tag, SVG + "svg")
        nodes = []
        for group in root.iter(SVG + "g"):
            rect = group.find(SVG + "rect")
            nodes.append({"function": group.get("data-f"), "bytes": int(group.get("data-b")),
                          "depth": int(group.get("data-d")), "x": float(rect.get("x")),
                          "width": float(rect.get("width")), "y": float(rect.get("y")),
                          "title": group.find(SVG + "title").text, "text": group.find(SVG + "text").text or ""})
        base = nodes[0]
        total = TOTAL + 2 * LEAK
        self.assertEqual((base["function"], base["bytes"], base["depth"]), ("all", total, 0))
        for node in nodes:
            self.assertAlmostEqual(node["width"], base["width"] * node["bytes"] / total, delta=0.01)
            self.assertEqual(node["y"], base["y"] - 18 * node["depth"])
            inside = [other for other in nodes if other["depth"] == node["depth"] + 1 and
                      other["x"] >= node["x"] - 0.01 and
                      other["x"] + other["width"] <= node["x"] + node["width"] + 0.01]
            self.assertLessEqual(sum(other["bytes"] for other in inside), node["bytes"])
        for depth in range(1, 1 + max(node["depth"] for node in nodes)):  # no two lie over each other
            row = sorted((n["x"], n["x"] + n["width"]) for n in nodes if n["depth"] == depth)
            self.assertTrue(all(left[1] <= right[0] + 0.01 for left, right in zip(row, row[1:])))
        leaks = [n for n in nodes if n["function"] == "remember_session"]
        self.assertEqual([n["bytes"] for n in leaks], [3 * LEAK])
        self.assertIn(f"make_snapshot.c:{line_of('leak')}\n17.2 MiB", leaks[0]["title"])
        self.assertEqual(leaks[0]["text"], "remember_session")
        titles = [text.text for text in root.iter(SVG + "text") if text.get("class") == "title"]
        self.assertEqual(titles, ["tool_make_snapshot: 31.5 MiB in 131,965 blocks"])
        script = root.find(SVG + "script").text
        self.assertIn("addEventListener", script)
        with open(out) as file:
            self.assertEqual(re.findall(r"https?://[^\s\"<]+", file.read()), ["http://www.w3.org/2000/svg"])

    def test_exports_and_a_table_at_once(self):
        out = self.path("both")
        self.assertEqual(len(rows(self.show(self.old, "--folded", out, "--by", "file"))), 2)
        self.assertTrue(os.path.getsize(out) > 0)

    # What goes wrong.

    def test_wrong_usage(self):
        for args in ((), (self.old, self.now), (self.old, "--by", "colour"), (self.old, "--top", "-1"),
                     (self.old, "--top", "many"), (self.old, "--unknown"), (self.old, "--by")):
            with self.subTest(args):
                result = ouro("snapshot", *args)
                self.assertEqual((result.returncode, result.stdout), (2, ""))
                self.assertIn("Try 'ouro snapshot --help'.", result.stderr)

    def test_damaged_files_are_one_line(self):
        with open(self.old, "rb") as file:
            good = file.read()
        cut, changed, newer, text = (self.path(n) for n in ("cut", "changed", "newer", "text"))
        for path, content in ((cut, good[:-7]), (changed, good[:200] + b"?" + good[201:]),
                              (newer, good[:8] + b"\x02" + good[9:]), (text, b"hello\n"), (self.path("empty"), b"")):
            with open(path, "wb") as file:
                file.write(content)
        for path in (cut, changed, text, self.path("empty")):
            self.assertEqual(self.fails(path), f"ouro: {path}: not a snapshot, or damaged\n")
        self.assertEqual(self.fails(newer), f"ouro: {newer}: written by a newer version of ouro than this one\n")
        self.assertEqual(self.fails(self.old, "--diff", cut), f"ouro: {cut}: not a snapshot, or damaged\n")
        self.assertEqual(self.fails("/nonexistent"), "ouro: /nonexistent: No such file or directory\n")
        self.assertEqual(self.fails(self.folder), f"ouro: {self.folder}: Is a directory\n")

    def test_outputs_that_cannot_be_written(self):
        for option in ("--pprof", "--folded", "--flamegraph"):
            self.assertEqual(self.fails(self.old, option, "/nonexistent/file"),
                             "ouro: /nonexistent/file: No such file or directory\n")
            self.assertIn("No space left on device", self.fails(self.old, option, "/dev/full"))

    def test_a_dump_does_not_command_the_terminal(self):
        with open(self.old, "rb") as file:
            dump = bytearray(file.read())
        at = dump.index(b"session")
        dump[at + 1:at + 4] = b"\033[m"
        dump[24:28] = bytes(4)
        dump[24:28] = zlib.crc32(dump).to_bytes(4, "little")
        hostile = self.path("hostile.ouro")
        with open(hostile, "wb") as file:
            file.write(dump)
        for args in (("--by", "type"), ("--by", "traceback")):
            text = self.show(hostile, *args)
            self.assertIn("s?[mion", text)
            self.assertNotIn("\033", text)

    # Names from elsewhere.

    def test_program_that_is_gone(self):
        gone, dump, stripped = self.path("gone"), self.path("gone.ouro"), self.path("symbols")
        shutil.copy(MAKE, gone)
        subprocess.run([gone, dump], check=True)
        os.makedirs(stripped)
        os.rename(gone, os.path.join(stripped, "gone"))
        result = ouro("snapshot", dump)
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r" gone\+0x[0-9a-f]+\n")
        self.assertIn("ouro: no line numbers: ", result.stderr)
        self.assertIn(f"make_snapshot.c:{line_of('leak')}", self.show(dump, "--symbols", "/nowhere:" + stripped))
        # Another build in its place is not taken for it.
        shutil.copy("/bin/true", gone)
        self.assertRegex(ouro("snapshot", dump).stdout, r" gone\+0x[0-9a-f]+\n")

    def test_stripped_with_debug_file_by_build_id(self):
        program, dump, debug = self.path("lean"), self.path("lean.ouro"), self.path("debug")
        subprocess.run(["objcopy", "--strip-all", MAKE, program], check=True)
        subprocess.run([program, dump], check=True)
        notes = subprocess.run(["readelf", "-n", MAKE], capture_output=True, text=True, check=True).stdout
        build_id = re.search(r"Build ID: (\w+)", notes).group(1)
        os.makedirs(os.path.join(debug, ".build-id", build_id[:2]))
        subprocess.run(["objcopy", "--only-keep-debug", MAKE,
                        os.path.join(debug, ".build-id", build_id[:2], build_id[2:] + ".debug")], check=True)
        self.assertRegex(ouro("snapshot", dump).stdout, r" lean\+0x[0-9a-f]+\n")
        self.assertIn(f"make_snapshot.c:{line_of('leak')}", self.show(dump, "--symbols", debug))


if __name__ == "__main__":
    unittest.main()
