"""Runs the tiny experiment in a process of its own, telling on stdout how far it is: `child_run.py OUT refuse|resume STEPS [CAPACITY]`."""

import sys
from pathlib import Path

from dreamctl.core.errors import DreamctlError
from dreamctl.core.session import Session, Silence
from dreamctl.stages.run import run
from tests.stages.tiny import tiny


class Told(Silence):
    def update(self, done: int, **_: float) -> None:
        print(done, flush=True)


def main(out: str, existing: str, steps: str, capacity: str = "") -> int:
    session = Session(existing=existing, progress=Told(), threads=1)
    replay = {"selector": "online", "start": "latents", "capacity": int(capacity)} if capacity else {}
    experiment = tiny(run={"steps": int(steps)}, env={"num_envs": 2}, replay=replay)
    try:
        with session.stop.on_signals():
            run(experiment, Path(out), session)
    except DreamctlError as error:
        print(error, file=sys.stderr)
        return error.code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
