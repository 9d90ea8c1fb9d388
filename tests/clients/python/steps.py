"""Tells of a client's steps on standard output, in the protocol of xtask/src/clients/report.rs."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

LIMIT_SECONDS = 60

_steps: list[tuple[str, Callable[[], None]]] = []


def step(run: Callable[[], None]) -> Callable[[], None]:
    """Makes a function a step. Its name is the function's, with `-` for `_`."""
    _steps.append((run.__name__.replace("_", "-"), run))
    return run


def main() -> None:
    """Runs every step, whatever became of those before it."""
    for name, _ in _steps:
        print("plan", name, flush=True)
    for name, run in _steps:
        started = time.monotonic()
        error = _within(run)
        seconds = f"{time.monotonic() - started:.2f}"
        if error is None:
            print("ok", name, seconds, flush=True)
        else:
            print("fail", name, seconds, " ".join(_reason(error).split()), flush=True)
    # Threads of steps that were given up must not hold the process.
    sys.stdout.flush()
    os._exit(0)


def _within(run: Callable[[], None]) -> BaseException | None:
    result: list[BaseException] = []

    def attempt() -> None:
        try:
            run()
        except BaseException as error:  # noqa: BLE001
            traceback.print_exc()
            result.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(LIMIT_SECONDS)
    if thread.is_alive():
        return TimeoutError(f"not done after {LIMIT_SECONDS} s")
    return result[0] if result else None


def _reason(error: BaseException) -> str:
    """What a Status says, or the error itself."""
    try:
        return json.loads(error.body)["message"]
    except (AttributeError, KeyError, TypeError, ValueError):
        return str(error) or type(error).__name__


def eventually(look: Callable[[], None], seconds: float = LIMIT_SECONDS - 5) -> None:
    """Calls `look` until it raises nothing."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return look()
        except Exception:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def want(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{what} is {found!r}, not {wanted!r}")
