"""`python main.py --help` and a stored result, against starting Python and importing torch.

python -m benchmarks.startup [--rounds 10]
"""

import subprocess
import sys
import tempfile
from functools import partial

from benchmarks import scaffold

RUN = "main.py --dataset agnews --source sample --post-epochs 0 --data-dir {0} --result-dir {0}"


def command(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def main() -> None:
    args = scaffold.Flags(__doc__, rounds=10).begin()
    torch_alone = partial(command, "-c", "import torch")
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "help": partial(command, "main.py", "--help"),
            "stored_result": partial(command, *RUN.format(folder).split()),
        }
        ways["stored_result"]()
        compared = {name: scaffold.compare(torch_alone, way, args.rounds, warm_up=1) for name, way in ways.items()}
    scaffold.save("startup", {f"{name}_against_import_torch": found for name, found in compared.items()})


if __name__ == "__main__":
    main()
