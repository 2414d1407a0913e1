"""Feeds a target for a while, guided by coverage: what `scripts/fuzz` runs, one process for each target.

python -m tests.fuzz.guided TARGET [libFuzzer's options] [corpus folder]
"""

import sys

import atheris

with atheris.instrument_imports(include=["listserv"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
