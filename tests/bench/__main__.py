"""What `scripts/bench` does."""

import signal
import sys

from tests.bench.bench import main

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, as after Ctrl-C
    sys.exit(main(sys.argv[1:]))
