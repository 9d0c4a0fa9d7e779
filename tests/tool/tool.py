"""tests/tool/tool.py: runs the tool, for the tests beside it."""
import os
import pty
import subprocess

TOOL = os.environ["OURO_TEST_TOOL"]
BUILD = os.environ["OURO_TEST_BUILD"]
SANITIZE = os.environ.get("OURO_TEST_SANITIZE", "")


def environment(**changes):
    """This process's, without what would change the tool's output; None takes a variable away."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("OURO_")}
    for name in ("NO_COLOR", "COLUMNS", "LINES", "LD_PRELOAD"):
        env.pop(name, None)
    for name, value in changes.items():
        if value is None:
            env.pop(name, None)
        else:
            env[name] = value
    return env


def ouro(*args, timeout=120, **changes):
    """Runs `ouro ARGS` with no terminal; has .returncode, .stdout, .stderr as text."""
    return subprocess.run([TOOL, *map(str, args)], env=environment(**changes), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout)


def on_terminal(*args, **changes):
    """Runs `ouro ARGS` on a terminal of its own; returns what it printed there."""
    master, slave = pty.openpty()
    changes.setdefault("TERM", "xterm")
    child = subprocess.Popen([TOOL, *map(str, args)], env=environment(**changes), stdin=slave, stdout=slave,
                             stderr=slave)
    os.close(slave)
    text = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    child.wait(timeout=60)
    os.close(master)
    return text.decode()
