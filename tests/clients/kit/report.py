"""The lines that a run prints, and the comparisons that checks are made of."""

import threading
import time
import traceback
from contextlib import contextmanager


class Failed(Exception):
    """A check did not hold; the text says what was found and what was expected."""


def expect(found, expected, what: str) -> None:
    """Fails unless `found` equals `expected`."""
    if found != expected:
        raise Failed(f"{what}: found {found!r}, expected {expected!r}")


def ensure(holds, what: str) -> None:
    """Fails unless `holds`."""
    if not holds:
        raise Failed(what)


def contains(text: str, *parts: str) -> None:
    """Fails unless every part is in the text."""
    for part in parts:
        ensure(part in text, f"{part!r} is not in {text!r}")


class Report:
    """Counts checks and prints a line for each. Checks may come from several threads."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self._topic = ""
        self._lock = threading.Lock()

    def begin(self, topic: str) -> None:
        self._topic = topic
        print(f"\n{topic}", flush=True)

    @contextmanager
    def check(self, name: str):
        """One check: passes when its block ends, fails when it raises."""
        began = time.monotonic()
        try:
            yield
        except Failed as failure:
            self._line(False, name, began, str(failure))
        except Exception as error:  # Whatever goes wrong in a check is that check's failure, not the run's end.
            self._line(False, name, began, "".join(traceback.format_exception(error, limit=-3)).strip())
        else:
            self._line(True, name, began, "")

    def _line(self, passed: bool, name: str, began: float, why: str) -> None:
        seconds = time.monotonic() - began
        with self._lock:
            if passed:
                self.passed += 1
            else:
                self.failed += 1
            took = f"  ({seconds:.1f} s)" if seconds >= 1 else ""
            print(f"  {'ok  ' if passed else 'FAIL'}  {self._topic}: {name}{took}", flush=True)
            for line in why.splitlines():
                print(f"          {line}", flush=True)
