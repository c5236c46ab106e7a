"""Jobs of this project beside the engines that a user would take instead: the same network and data, in turn.

    python -m benchmarks.engines [--rounds 5] [--threads 1] [--job networks decoding news] [--data-dir Data]

Seconds are those of the processor, in all threads: other work on the machine prolongs them less than the clock's, which
stand beside them. An engine that is not installed is left out; requirements-extra.txt names them all.
"""

from importlib import metadata

from benchmarks import scaffold
from benchmarks.engines import decoding, networks, news
from benchmarks.exported_networks import roofline

JOBS = {"networks": networks.figures, "decoding": decoding.figures, "news": news.figures}
ENGINES = ("fasttext-wheel", "onnxruntime", "openvino", "ctranslate2")  # packages


def _installed(package: str) -> bool:
    return any(metadata.distributions(name=package))


def main() -> None:
    flags = scaffold.Flags(__doc__, rounds=5, threads=1, source=True)
    flags.add_argument("--job", nargs="+", choices=JOBS, default=list(JOBS))
    args = flags.begin()
    found = {"rounds": args.rounds, "machine_at_best": roofline(args.threads)}
    found |= {job: figures(args) for job, figures in JOBS.items() if job in args.job}
    found["engines"] = {name: metadata.version(name) for name in ENGINES if _installed(name)}
    scaffold.save("engines", found)


if __name__ == "__main__":
    main()
