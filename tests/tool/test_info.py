"""tests/tool/test_info.py: `ouro info`."""
import os
import re
import unittest

from tool import BUILD, TOOL, ouro

ROOT = os.path.join(os.path.dirname(__file__), "../..")


class Info(unittest.TestCase):
    def setUp(self):
        self.text = ouro("info").stdout

    def field(self, name):
        return re.search(rf"^  {re.escape(name)} +(.*)$", self.text, re.M)[1]

    def test_libraries_are_those_of_the_build(self):
        self.assertEqual(os.path.realpath(self.field("malloc, shared")),
                         os.path.realpath(os.path.join(BUILD, "lib/libouro_malloc.so")))
        self.assertEqual(os.path.realpath(self.field("this tool")), os.path.realpath(TOOL))
        for name, file in (("malloc", "libouro_malloc.so"), ("ouro", "libouro.so"), ("ouro.a", "libouro.a")):
            result = ouro("info", "--library", name)
            self.assertEqual(os.path.realpath(result.stdout.rstrip("\n")),
                             os.path.realpath(os.path.join(BUILD, "lib", file)))
        self.assertEqual(ouro("info", "--library", "nix").returncode, 2)

    def test_machine(self):
        self.assertTrue(self.field("CPUs").startswith(f"{len(os.sched_getaffinity(0))} allowed of {os.cpu_count()}"))
        self.assertEqual(self.field("pages"), {4096: "4.00 KiB", 16384: "16.0 KiB", 65536: "64.0 KiB"}
                         [os.sysconf("SC_PAGESIZE")])
        self.assertIn(os.uname().release, self.field("system"))

    def test_environment_in_force(self):
        text = ouro("info", OURO_PURGE_DELAY_MS="77", OURO_NONSENSE="1").stdout
        self.assertRegex(text, r"(?m)^  OURO_PURGE_DELAY_MS +77 +1000 ")
        self.assertRegex(text, r"(?m)^  OURO_THP +- +auto ")
        self.assertIn("OURO_NONSENSE is no variable of this version", text)

    def test_every_variable_that_the_libraries_read_is_listed(self):
        read = set()
        for folder, _, files in os.walk(os.path.join(ROOT, "lib")):
            for name in files:
                with open(os.path.join(folder, name)) as file:
                    read |= set(re.findall(r'(?:getenv|read_[a-z]+)\("(OURO_[A-Z_]+)"', file.read()))
        listed = set(re.findall(r"^  (OURO_[A-Z_]+)", self.text, re.M))
        self.assertGreaterEqual(len(read), 8)
        self.assertLessEqual(read, listed)

    def test_no_arguments(self):
        result = ouro("info", "what")
        self.assertEqual(result.returncode, 2)


if __name__ == "__main__":
    unittest.main()
