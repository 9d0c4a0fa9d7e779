"""tests/tool/test_man.py: the manual pages are well-formed, and name every option and function."""
import glob
import os
import re
import shutil
import subprocess
import unittest

from tool import BUILD, ouro

ALL = "OURO_TEST_ALL" in os.environ  # CI: nothing is left out
MAN = os.path.join(BUILD, "docs/man")
INCLUDE = os.path.join(os.path.dirname(__file__), "../../include/ouro")
PAGES = sorted(glob.glob(f"{MAN}/man1/*.1")) + sorted(
    f"{MAN}/man3/ouro_{name}.3" for name in ("alloc", "gc", "object", "stats", "thread", "trace", "weakref")
    if os.path.exists(f"{INCLUDE}/{name}.h"))


def read(path):
    with open(path) as file:
        return file.read()


class Man(unittest.TestCase):
    def test_all_pages_are_there(self):
        self.assertGreaterEqual(len(PAGES), 10)
        for page in PAGES:
            self.assertTrue(os.path.exists(page), page)

    @unittest.skipUnless(ALL or shutil.which("mandoc"), "mandoc is missing: scripts/setup test")
    def test_mandoc_has_nothing_to_say(self):
        result = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *PAGES], capture_output=True, text=True)
        self.assertEqual(result.stdout + result.stderr, "")

    @unittest.skipUnless(ALL or shutil.which("groff"), "groff is missing: scripts/setup test")
    def test_groff_has_nothing_to_say(self):
        for page in PAGES:
            result = subprocess.run(["groff", "-ww", "-man", "-Tutf8", "-z", page], capture_output=True, text=True)
            self.assertEqual(result.stdout + result.stderr, "", page)

    def test_options_of_commands(self):
        for command in ("run", "snapshot", "graph", "top", "info"):
            page = read(f"{MAN}/man1/ouro-{command}.1").replace("\\-", "-")
            options = set(re.findall(r"(?m)^ +(?:-\w, )? *(--[a-z]+)", ouro(command, "--help").stdout))
            self.assertGreaterEqual(len(options), 2)
            for option in options:
                self.assertIn(option, page, command)
        page = read(f"{MAN}/man1/ouro.1")
        for command in ("run", "top", "info", "snapshot", "graph"):
            self.assertIn(f".B {command}\n", page)

    def test_every_public_function_has_a_page(self):
        for path in PAGES[-7:]:
            if not path.endswith(".3"):
                continue
            header = os.path.basename(path)[len("ouro_"):-2]
            text = re.sub(r"/\*.*?\*/", "", read(f"{INCLUDE}/{header}.h"), flags=re.S)
            names = set(re.findall(r"(?m)^(?:OURO_ATTR_EXPORT|static inline)[^;{(]*?\b(ouro_[a-z0-9_]+)\(", text))
            names = {name for name in names if not name.endswith("_")}
            self.assertGreaterEqual(len(names), 3, header)
            page = read(path).replace("\\-", "-")
            for name in names:
                self.assertIn(f"{name}(", page)
                self.assertEqual(read(f"{MAN}/man3/{name}.3"), f".so man3/ouro_{header}.3\n")

    def test_nothing_private_is_shown(self):
        for page in PAGES:
            private = re.findall(r"\b(?:ouro_[a-z_]+|OURO_[A-Z_]+)_\b(?!\.)", read(page))
            self.assertEqual([name for name in private if not name.endswith("OURO_")], [], page)


if __name__ == "__main__":
    unittest.main()
