"""tests/tool/test_traced.py: from a traced program to the line that the tool shows."""
import os
import re
import subprocess
import tempfile
import unittest

from tool import BUILD, SANITIZE, environment, ouro

TRACED, OBJECTS = os.environ["OURO_TEST_TRACED"], os.environ["OURO_TEST_TRACED_OBJECTS"]
HERE = os.path.dirname(os.path.abspath(__file__))


def line_of(file, mark):
    with open(os.path.join(HERE, file)) as source:
        return next(number for number, line in enumerate(source, 1) if f"/* {mark} */" in line)


class Traced(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="ouro-traced-")
        self.addCleanup(folder.cleanup)
        self.dump = os.path.join(folder.name, "dump.ouro")

    def show(self, *args):
        result = ouro("snapshot", self.dump, *args)
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        return result.stdout

    @unittest.skipIf(SANITIZE, "the sanitizer's own malloc would be traced")
    def test_a_program_that_was_not_built_for_it(self):
        env = environment(LD_PRELOAD=os.path.join(BUILD, "lib", "libouro_malloc.so"), OURO_TRACE="25",
                          OURO_TRACE_FILE=self.dump)
        result = subprocess.run([TRACED], env=env, capture_output=True, text=True, check=True)
        self.assertEqual((result.stdout, result.stderr), ("", ""))
        text = self.show()
        first = [line for line in text.split("\n\n", 1)[1].splitlines()][1]
        self.assertRegex(first, rf"^ *488 KiB .* 500 +1000 B  .*tool/traced\.c:{line_of('traced.c', 'leak')} +remember$")
        self.assertNotIn("soon", text)
        text = self.show("--by", "traceback", "-n", "1")
        self.assertEqual(re.findall(r"  (\w+)\n", text)[:2], ["remember", "main"])

    def test_objects_by_type_and_line(self):
        result = subprocess.run([OBJECTS, self.dump], env=environment(), capture_output=True, text=True, check=True)
        node = int(result.stdout)
        text = self.show("--by", "type")
        self.assertRegex(text, r" 99 +2\.93 KiB  \(plain blocks\)\n")
        self.assertRegex(text, rf" 1,000 +{node} B  node\n")
        text = self.show()
        self.assertRegex(text, rf" 1,000 .*traced_objects\.c:{line_of('traced_objects.c', 'node')} +add_node\n")
        self.assertRegex(text, rf" 99 .*traced_objects\.c:{line_of('traced_objects.c', 'block')} +main\n")

    def test_sampled(self):
        subprocess.run([OBJECTS, self.dump, "4096"], env=environment(), capture_output=True, check=True)
        text = self.show()
        self.assertIn("sampled, one for 4.00 KiB", text)
        self.assertIn("tool/traced_objects.c:", text)


if __name__ == "__main__":
    unittest.main()
