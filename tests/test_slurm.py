"""The Slurm recipe of the documentation, as it stands there, with the variables set by hand."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ibjax

PAGE = Path(__file__).parent.parent / "docs" / "howto" / "machines.md"
CONFIG = ibjax.Config(seeds=20, epochs=2000, logged_epochs=(0, 1000, 2000), hidden_widths=(3,))
OPTIONS = "--epochs 2000 --logged-epochs 0,1000,2000 --hidden-widths 3, --checkpoint-every 0 --quiet"


@pytest.mark.slow
@pytest.mark.usefixtures("unoptimized")
def test_the_array_job_goes_on_after_its_time(tmp_path: Path) -> None:
    script = re.search(r"^```bash\n(#!/bin/bash\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert script is not None
    assert script[1].count("500") == 2
    (tmp_path / "job.sh").write_text(script[1].replace("500", "10"))
    programs = tmp_path / "bin"
    programs.mkdir()
    run = f'#!/bin/bash\nexec {sys.executable} -m ibjax "$@" {OPTIONS}\n'
    for name, text in (("ibjax", run), ("scontrol", '#!/bin/bash\necho "$@" >> requeued\n')):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)

    def submit(task: int) -> subprocess.Popen[bytes]:
        variables = {
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": str(task),
            "PATH": f"{programs}:{os.environ['PATH']}",
        }
        return subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=os.environ | variables)

    first = submit(0)
    while not list(tmp_path.glob("states/0/state_*.npz")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 143
    assert (tmp_path / "requeued").read_text() == "requeue 7_0\n"
    assert not (tmp_path / "pieces" / "seeds_0.npz").exists()
    assert list((tmp_path / "states" / "0").glob("state_*.npz"))
    assert [submit(task).wait() for task in (0, 1)] == [0, 0]
    assert (tmp_path / "requeued").read_text() == "requeue 7_0\n"
    assert ibjax.load(tmp_path / "pieces").differences(ibjax.run(CONFIG)) == {}
