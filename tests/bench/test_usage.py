"""Processor time is counted with that of children, dead ones too."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.bench import usage
from tests.bench.usage import Account, Tree

WORK = "import time\nwhile time.process_time() < 0.3: pass\n"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {WORK!r}])\nprint('done', flush=True)\ninput()"


@pytest.mark.parametrize("make", [lambda: usage.open_account("test"), Tree], ids=["group", "tree"])
def test_a_dead_child_counts(make: Callable[[], Account]) -> None:
    account = make()
    command = account.command([sys.executable, "-c", PARENT])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        account.adopt(parent.pid)
        assert parent.stdout
        parent.stdout.readline()
        with usage.Memory(account) as memory:
            assert account.pids() == [parent.pid]
            assert 0.2 <= account.seconds() < 2
        parent.communicate(b"\n")
    account.close()
    assert 5 < memory.most <= memory.sum * 1.01 < 200
