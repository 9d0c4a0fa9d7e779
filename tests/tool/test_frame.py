"""tests/tool/test_frame.py: what all subcommands have in common: help, version, statuses, colours."""
import subprocess
import unittest

from tool import TOOL, environment, on_terminal, ouro


def commands():
    text = ouro("--help").stdout
    listed = text.split("Commands:\n")[1].split("\nOptions:")[0]
    return [line.split()[0] for line in listed.splitlines() if line]


class Frame(unittest.TestCase):
    def test_help_lists_commands_and_examples(self):
        result = ouro("--help")
        self.assertEqual(result.returncode, 0)
        self.assertEqual(result.stderr, "")
        self.assertIn("Examples:", result.stdout)
        self.assertEqual(ouro("-h").stdout, result.stdout)
        self.assertEqual(ouro("help").stdout, result.stdout)

    def test_each_command_has_help_with_examples(self):
        for command in commands():
            with self.subTest(command):
                result = ouro(command, "--help")
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertTrue(result.stdout.startswith(f"Usage: ouro {command}"), result.stdout)
                self.assertIn("Examples:", result.stdout)
                self.assertIn("--help", result.stdout)
                self.assertEqual(ouro("help", command).stdout, result.stdout)
                self.assertLessEqual(max(map(len, result.stdout.splitlines())), 120)

    def test_wrong_usage_is_two(self):
        wrong = [(), ("nonsense",), ("--nonsense",), ("help", "nonsense")]
        wrong += [(command, "--nonsense") for command in commands()]
        for args in wrong:
            with self.subTest(args):
                result = ouro(*args)
                self.assertEqual(result.returncode, 2)
                self.assertEqual(result.stdout, "")
                self.assertRegex(result.stderr, r"\Aouro: .*\nTry 'ouro .*--help'\.\n\Z")

    def test_version(self):
        result = ouro("--version")
        self.assertRegex(result.stdout, r"\Aouro \d+\.\d+\.\d+\n\Z")
        self.assertEqual(ouro("-V").stdout, result.stdout)

    def test_colours_only_on_a_terminal(self):
        self.assertNotIn("\033", ouro("--help", TERM="xterm").stdout)
        self.assertIn("\033[1m", on_terminal("--help"))
        for changes in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
            self.assertNotIn("\033", on_terminal("--help", **changes))
        self.assertIn("\033[1m", on_terminal("--help", NO_COLOR=""))

    def test_a_full_disk_is_a_failure(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([TOOL, "--help"], env=environment(), stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertRegex(result.stderr, r"\Aouro: cannot write the output: .*\n\Z")

    def test_the_tool_leaves_its_environment_to_programs(self):
        result = ouro("--version", OURO_STATS_AT_EXIT="text", OURO_PURGE_DELAY_MS="nonsense")
        self.assertEqual(result.stderr, "")


if __name__ == "__main__":
    unittest.main()
