"""What `scripts/bench` does."""

import sys

from tests.bench.bench import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
