"""A command with a MidiOutputProcess that can be ended in every way: duet.py starts it. No model: a round takes a second.

    python tests/benchmarks/duet_command.py PORT

Reads [[time_s, duration_s, pitch, velocity], ...] as a line of JSON, plays it, prints the scheduler's process number, then
obeys the lines `stop` and `panic`.
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lib.apps.live.midi_output_process import MidiOutputProcess  # noqa: E402
from lib.apps.live.scheduler import key, without_overlap  # noqa: E402


def main():
    output, rows = MidiOutputProcess(sys.argv[1]), json.loads(sys.stdin.readline())
    now_s = time.perf_counter()
    output.order("play", without_overlap([key(now_s + t, now_s + t + d, p, v) for t, d, p, v in rows]))
    print(output.scheduler.pid, flush=True)
    for word in sys.stdin:
        if word.strip() == "panic":
            output.order("panic")
        else:
            output.close()


if __name__ == "__main__":
    main()
