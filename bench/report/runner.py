"""Runs things under an allocator and says what they used."""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

TIMEOUT_S = 180


class Failure(Exception):
    """A run that crashed, hung or found its data damaged."""


def environment(library, extra=None):
    env = dict(os.environ)
    env.pop("LD_PRELOAD", None)
    env.update(extra or {})
    if library:
        env["LD_PRELOAD"] = library
    return env


def _last_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no message"


def _finish(process, what, timeout):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise Failure("%s: still running after %d s" % (what, timeout)) from None
    if process.returncode != 0:
        code = process.returncode
        how = "signal %d" % -code if code < 0 else "signal %d" % (code - 128) if code > 128 else "exit status %d" % code
        raise Failure("%s: %s: %s" % (what, how, _last_line(err)))
    return out


def run_json(command, library, timeout=TIMEOUT_S):
    """Runs one of our own programs, which measure themselves and print a line of JSON."""
    process = subprocess.Popen(command, env=environment(library), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True)
    return json.loads(_finish(process, os.path.basename(command[1]), timeout))


def run_launched(launch, command, library, extra=None, cwd=None, timeout=TIMEOUT_S):
    """Runs any program through ouro-launch, which measures it; its output goes nowhere."""
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "used.json")
        process = subprocess.Popen([launch, out, library, "--"] + command, env=environment("", extra), cwd=cwd,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   text=True, errors="replace", start_new_session=True)
        _finish(process, os.path.basename(command[0]), timeout)
        with open(out, encoding="utf-8") as used:
            return json.load(used)


class Progress:
    """One line that says where we are and how long it will take; on a terminal it replaces itself."""

    def __init__(self, quiet=False):
        self.live = sys.stderr.isatty()
        self.quiet = quiet
        self.total = 0
        self.done = 0
        self.started = time.monotonic()
        self.said = 0.0

    def expect(self, steps):
        self.total = steps
        self.done = 0
        self.started = time.monotonic()

    def eta(self):
        spent = time.monotonic() - self.started
        left = spent / self.done * (self.total - self.done) if self.done else 0
        return "%d:%02d left" % (left // 60, left % 60) if self.done >= 3 else ""

    def step(self, text):
        """Says what is about to run."""
        if not self.quiet and (self.live or time.monotonic() - self.said > 5):
            self.said = time.monotonic()
            line = "[%3d%%] %-44s %s" % (100 * self.done / max(1, self.total), text, self.eta())
            sys.stderr.write("\r\033[K" + line if self.live else line + "\n")
            sys.stderr.flush()
        self.done += 1

    def say(self, text):
        """A line that stays."""
        sys.stderr.write(("\r\033[K" if self.live else "") + text + "\n")
        sys.stderr.flush()
