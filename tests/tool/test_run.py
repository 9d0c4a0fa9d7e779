"""tests/tool/test_run.py: `ouro run`: what the program gets, what it ends with, what is reported."""
import json
import os
import re
import signal
import subprocess
import tempfile
import unittest

from tool import BUILD, SANITIZE, TOOL, environment, ouro

# A sanitizer's program has the sanitizer's malloc, and the drop-in built with one cannot be preloaded.
LIBRARY = os.path.join(BUILD, "lib", "libouro_malloc.so")
ALLOCATE = "b = [bytes(300) for i in range(20000)]; print(len(b)); del b[:5000]"


class Program(unittest.TestCase):
    """What does not depend on the library: with one that does nothing."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.lib = os.path.join(cls.folder.name, "nothing.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", cls.lib, "/dev/null"], check=True)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def run_it(self, *args, **changes):
        return ouro("run", "--library", self.lib, *args, **changes)

    def test_status_is_the_programs(self):
        for status in (0, 1, 7, 255):
            self.assertEqual(self.run_it("-q", "--", "sh", "-c", f"exit {status}").returncode, status)

    def test_signals_are_128_and_the_number(self):
        for signo in (signal.SIGKILL, signal.SIGTERM, signal.SIGABRT):
            result = self.run_it("sh", "-c", f"kill -{int(signo)} $$")
            self.assertEqual(result.returncode, 128 + signo)
            self.assertIn(f"sh was killed by signal {int(signo)}", result.stderr)

    def test_what_cannot_be_run(self):
        result = self.run_it("/no/such/program")
        self.assertEqual((result.returncode, result.stderr),
                         (127, "ouro: cannot run /no/such/program: No such file or directory\n"))
        result = self.run_it("/etc/passwd")
        self.assertEqual((result.returncode, result.stderr), (126, "ouro: cannot run /etc/passwd: Permission denied\n"))

    def test_output_is_the_programs_alone(self):
        result = self.run_it("--", "printf", "a\\nb")
        self.assertEqual(result.stdout, "a\nb")
        self.assertRegex(result.stderr, r"\Aouro: printf ended with status 0\n"
                         r"  time       [\d.]+ s; [\d.]+ s user, [\d.]+ s system\n"
                         r"  memory     [\d.]+ [KMG]iB peak RSS; [\d,]+ minor faults, [\d,]+ major\n\Z")

    def test_quiet(self):
        self.assertEqual(self.run_it("-q", "true").stderr, "")

    def test_environment_reaches_the_program(self):
        result = self.run_it("-q", "--secure", "--trace=7:512k", "-o", "x.%p.y", "sh", "-c",
                             "echo $$ $OURO_THP $OURO_SECURE $OURO_TRACE $OURO_TRACE_FILE $LD_PRELOAD", OURO_THP="never",
                             LD_PRELOAD="")
        self.assertEqual(result.stdout.split()[1:], ["never", "1", "7:524288", "x.%p.y", self.lib])
        self.assertEqual(result.stderr, "ouro: no snapshot of sh: it is linked statically, or privileged, or did not end"
                         " by exit()\n")

    def test_sigterm_is_passed_on(self):
        child = subprocess.Popen([TOOL, "run", "--library", self.lib, "-q", "sh", "-c",
                                  "trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done"],
                                 env=environment(), stdout=subprocess.PIPE, text=True)
        self.addCleanup(child.kill)
        self.assertEqual(child.stdout.readline(), "ready\n")
        child.send_signal(signal.SIGTERM)
        self.assertEqual(child.wait(timeout=60), 33)
        child.stdout.close()

    def test_wrong_usage(self):
        for args in ((), ("--stats=xml", "true"), ("--trace=0", "true"), ("--trace=x", "true"), ("--trace=5:", "true"),
                     ("--output",)):
            result = ouro("run", *args)
            self.assertEqual(result.returncode, 2, args)
            self.assertRegex(result.stderr, r"\Aouro: .*\nTry 'ouro run --help'.\n\Z")

    def test_a_library_that_is_not_there(self):
        result = ouro("run", "--library", "/no/such.so", "true")
        self.assertEqual((result.returncode, result.stderr), (1, "ouro: /no/such.so is not there\n"))


@unittest.skipIf(SANITIZE, "the drop-in of a sanitizer's build cannot be preloaded")
class Statistics(unittest.TestCase):
    def test_json(self):
        result = ouro("run", "--stats=json", "--", "python3", "-c", ALLOCATE, PYTHONMALLOC="malloc")
        self.assertEqual((result.returncode, result.stdout), (0, "20000\n"))
        stats = json.loads(result.stderr)
        self.assertEqual(stats["library"], "libouro_malloc")
        self.assertGreater(stats["mallocs"], 20000)
        self.assertIs(stats["secure"], False)
        self.assertIs(json.loads(ouro("run", "--stats=json", "--secure", "sleep", "0").stderr)["secure"], True)

    def test_text(self):
        result = ouro("run", "--stats", "--", "python3", "-c", ALLOCATE, PYTHONMALLOC="malloc")
        self.assertRegex(result.stderr, r"\n  heap       .* allocated at the end in [\d,]+ blocks; peak [\d.]+ MiB\n")
        calls = re.search(r"\n  calls      ([\d,]+) mallocs, ([\d,]+) frees", result.stderr)
        self.assertGreater(int(calls[1].replace(",", "")), 20000)
        self.assertGreaterEqual(int(calls[1].replace(",", "")), int(calls[2].replace(",", "")))
        self.assertRegex(result.stderr, r"\n +352 +2\d,\d{3} ")  # bytes(300) is of 333 bytes

    def test_only_the_programs_own_are_shown(self):
        result = ouro("run", "--stats=json", "--", "python3", "-c",
                      "import subprocess, os; subprocess.run(['sort', '/dev/null']); print(os.getpid())")
        self.assertEqual(json.loads(result.stderr)["pid"], int(result.stdout))

    def test_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            result = ouro("run", "--trace=8", "-o", f"{folder}/of.%p", "--", "python3", "-c", ALLOCATE,
                          PYTHONMALLOC="malloc")
            self.assertEqual((result.returncode, result.stdout), (0, "20000\n"))
            files = os.listdir(folder)
            self.assertEqual(len(files), 1)
            self.assertRegex(files[0], r"^of\.\d+$")
            self.assertIn(f"  snapshot   {folder}/{files[0]}\n", result.stderr)
            shown = ouro("snapshot", f"{folder}/{files[0]}", "--top", "10")
            self.assertEqual(shown.returncode, 0)
            self.assertTrue(result.stderr.endswith(shown.stdout), result.stderr)

    def test_nothing_is_left_behind(self):
        with tempfile.TemporaryDirectory() as folder:
            ouro("run", "--stats", "python3", "-c", "pass", TMPDIR=folder)
            self.assertEqual(os.listdir(folder), [])

    def test_one_that_is_killed(self):
        result = ouro("run", "--stats", "sh", "-c", "kill -9 $$")
        self.assertEqual(result.returncode, 137)
        self.assertTrue(result.stderr.endswith("ouro: no statistics of sh: it was killed\n"))


if __name__ == "__main__":
    unittest.main()
