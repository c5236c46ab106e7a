"""`python main.py --help` and a stored result, against starting Python and importing torch.

python -m benchmarks.startup [--rounds 10]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile

from benchmarks import pairs


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds

    def command(*words: str):
        return lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True)

    torch_alone = command("-c", "import torch")
    with tempfile.TemporaryDirectory() as folder:
        stored = command(
            "main.py", "--dataset", "agnews", "--source", "sample", "--post-epochs", "0",
            "--data-dir", folder, "--result-dir", folder,
        )  # fmt: skip
        stored()
        figures = {
            "help_against_import_torch": pairs.compare(torch_alone, command("main.py", "--help"), rounds, warm_up=1),
            "stored_result_against_import_torch": pairs.compare(torch_alone, stored, rounds, warm_up=1),
        }
    pairs.save("startup", figures)


if __name__ == "__main__":
    main()
