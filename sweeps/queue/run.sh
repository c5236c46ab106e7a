#!/usr/bin/env bash
# Make as much of the queue as fits in so many seconds on one machine, and pack the results.
#
#   sweeps/queue/run.sh OUT SECONDS [WORKERS [FLAG ...]]
#
# OUT      directory for results.tar.gz, log.txt (the machine, runs done, failed and left) and sweep.txt (what the sweep said)
# SECONDS  after which all is packed and over: the sweep begins no run that it expects to end later, and is stopped shortly
#          before if it has not ended by itself
# WORKERS  runs side by side (default: 8 on a GPU, no more than there are cores; 1 without)
# FLAG     further flags of the sweep, such as --seed-list 1 or --source sample
#
# Settings in the environment, all optional:
#   DATA     the data directory (default: Data beside main.py); nothing is written there
#   CIFAR    an archive of CIFAR-10 (cifar-10-python.tar.gz), for a data directory without it
#   FILES    the sweep files, with blanks between (default: those of the queue)
#   KNOWN    result directories and results.tar.gz, with blanks between, whose runs are not made again
#            (default: Results/study, if it is there; none if KNOWN is empty)
#   WORK     a directory for what is in the making, kept, weights and all, so that the next call goes on there
#            (default: a temporary one, which is removed)
#   PYTHON   the interpreter (default: python)
#
# To bring the results into a store, on any machine:   tar -xzf OUT/results.tar.gz -C Results/study
#
# The exit code is the sweep's, 0 if it was stopped at the end of the time. Whatever happens to it, finished runs are packed;
# they are packed every minute as well, for the case that this script is killed.
set -uo pipefail

fail() {
    echo "error: $1" >&2
    exit 2
}

whole='^[1-9][0-9]*$'
[ $# -ge 2 ] || fail "usage: $0 OUT SECONDS [WORKERS [FLAG ...]]"
[[ $2 =~ $whole ]] || fail "SECONDS $2 is not a whole number from 1"
[[ ${3:-1} =~ $whole ]] || fail "WORKERS $3 is not a whole number from 1"
TIME=$2 WORKERS=${3:-} FLAGS=("${@:4}")
TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd) || fail "the project's directory is not to be found"
mkdir -p "$1" && OUT=$(cd "$1" && pwd) || fail "$1 cannot be made"
PYTHON=${PYTHON:-python}
command -v "$PYTHON" >/dev/null || fail "no $PYTHON; say in PYTHON which interpreter to take"
DATA=$(cd "${DATA:-$TOP/Data}" 2>/dev/null && pwd) || DATA=
read -r -a FILES <<<"${FILES:-}"
[ ${#FILES[@]} -gt 0 ] || FILES=("$TOP"/sweeps/queue/*.toml)
read -r -a KNOWN <<<"${KNOWN-$([ -d "$TOP/Results/study" ] && echo "$TOP/Results/study")}"
for file in "${FILES[@]}" "${KNOWN[@]}" ${CIFAR:+"$CIFAR"}; do [ -e "$file" ] || fail "no $file"; done
if [ -n "${WORK:-}" ]; then
    mkdir -p "$WORK" && WORK=$(cd "$WORK" && pwd) || fail "$WORK cannot be made"
    KEEP=yes
else
    WORK=$(mktemp -d) || fail "no directory for temporary files"
    KEEP=
fi
STORE=$WORK/results
LOG=$OUT/log.txt
: >"$LOG"
mkdir -p "$STORE/singleshot" "$WORK/data/prepared"

say() { echo "$*" | tee -a "$LOG"; }

# The finished runs of this machine, without weights: into OUT/results.tar.gz, which is whole at any time.
pack() {
    (
        cd "$STORE" || exit 1
        for run in singleshot/*; do # hidden ones are in the making
            [ -e "$run/result.json" ] || continue
            grep -qxF "${run#singleshot/}" "$WORK/known" && continue
            for name in seal.json config.json result.json report.txt epochs.jsonl; do # the seal first: a torn archive shows
                [ -e "$run/$name" ] && printf '%s\0' "$run/$name"
            done
            [ -n "$KEEP" ] || rm -f "$run"/*.safetensors
        done >"$WORK/list"
        tar --null -czf "$OUT/.results.tar.gz" -T "$WORK/list" && mv "$OUT/.results.tar.gz" "$OUT/results.tar.gz"
    )
}

packed() { tr '\0' '\n' <"$WORK/list" | grep -c '/result\.json$'; }

SWEEP= MPS= CODE=1
going() { [ -n "$SWEEP" ] && kill -0 "$SWEEP" 2>/dev/null; }

# As Ctrl-C does; what has not ended after so many seconds is killed, and its workers then end by themselves.
stop() {
    kill -INT "$SWEEP" 2>/dev/null
    for ((k = 0; k < $1; k++)); do
        going || return 0
        sleep 1
    done
    kill -KILL "$SWEEP" 2>/dev/null
}

end() {
    trap - EXIT INT TERM
    going && stop 25
    if pack; then say "packed: $(packed) runs in $OUT/results.tar.gz"; else say "packing has failed"; fi
    for record in "$STORE"/failed/*.json; do
        [ -e "$record" ] && say "failed: $(basename "$record" .json): $(sed -n 's/^ *"message": //p' "$record")"
    done
    [ -z "$MPS" ] || echo quit | nvidia-cuda-mps-control >/dev/null 2>&1
    say "after $SECONDS s"
    [ -n "$KEEP" ] || rm -rf "$WORK"
    exit "$CODE"
}
: >"$WORK/known"
: >"$WORK/names"
trap end EXIT
trap 'CODE=130; exit' INT TERM

# What is known already: its settings and results are enough for the sweep to pass it over.
unpack() {
    if [ -d "$1" ]; then
        (cd "$1" && find singleshot \( -name seal.json -o -name config.json -o -name result.json \) -print0 | tar --null -cf - -T -)
    else
        gzip -dc "$1"
    fi | tar -xf - -C "$STORE" --skip-old-files
}
names() { if [ -d "$1" ]; then ls "$1/singleshot"; else tar -tzf "$1" | cut -d/ -f2; fi; }
for known in "${KNOWN[@]}"; do
    unpack "$known" 2>>"$LOG" && names "$known" >>"$WORK/names" || say "not all of $known could be read"
done
sort -u "$WORK/names" >"$WORK/known"

# The data, in a directory that may be written to.
for entry in "$DATA"/* "$DATA"/prepared/*; do
    name=${entry#"$DATA"/}
    [ -n "$DATA" ] && [ -e "$entry" ] && [ ! -e "$WORK/data/$name" ] && ln -sfn "$entry" "$WORK/data/$name"
done
if [ -n "${CIFAR:-}" ] && [ ! -e "$WORK/data/cifar-10-batches-py" ]; then
    tar -xzf "$CIFAR" -C "$WORK/data" || say "$CIFAR cannot be unpacked"
fi

# The machine. Runs side by side on one GPU take turns, unless NVIDIA's MPS lets them compute at once.
machine() {
    timeout 60 "$PYTHON" -c '
import torch
found = torch.cuda.is_available()
print(torch.cuda.get_device_name() if found else "cpu", torch.ones(1, device="cuda" if found else "cpu").item(), sep="|")
print("torch", torch.__version__)' 2>>"$LOG"
}
found=$(machine) || say "torch cannot be loaded, or not use its device"
device=${found%%|*}
cores=$(nproc 2>/dev/null || echo 1)
[ "$device" = cpu ] && most=1 || most=8
WORKERS=${WORKERS:-$((cores < most ? cores : most))}
if [ "$device" != cpu ] && [ "$WORKERS" -gt 1 ] && command -v nvidia-cuda-mps-control >/dev/null; then
    if echo get_server_list | nvidia-cuda-mps-control >/dev/null 2>&1; then
        say "MPS: runs already"
    else
        export CUDA_MPS_PIPE_DIRECTORY=$WORK/mps CUDA_MPS_LOG_DIRECTORY=$WORK/mps
        mkdir -p "$WORK/mps"
        if nvidia-cuda-mps-control -d >>"$LOG" 2>&1 && MPS=yes && machine >/dev/null; then
            say "MPS: started"
        else
            say "MPS: does not work here"
            [ -z "$MPS" ] || echo quit | nvidia-cuda-mps-control >/dev/null 2>&1
            MPS=
            unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
        fi
    fi
fi
say "device: ${device:-unknown}, $cores cores, $WORKERS workers"
say "software: ${found##*$'\n'}, $("$PYTHON" --version 2>&1)"

# The sweep. A tenth of the time, at most 30 s, is kept for its end and for packing.
reserve=$((TIME / 10 < 30 ? TIME / 10 : 30))
last=$((TIME - reserve / 2))
limit=$((TIME - reserve - SECONDS))
[ "$limit" -gt 0 ] || limit=1
words=(--experiment sweep --source real --sweep-file "${FILES[@]}" --data-dir "$WORK/data" --result-dir "$STORE")
words+=("${FLAGS[@]}" --workers "$WORKERS")
# Python takes Ctrl-C only if it begins with its signal as usual; in what a script starts in the background it is ignored.
usual='import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])'
set -m # a process group of its own, that a Ctrl-C at the terminal reaches through this script alone
"$PYTHON" -c "$usual" "$TOP/main.py" "${words[@]}" --time-limit "$limit" >"$OUT/sweep.txt" 2>&1 &
SWEEP=$!
set +m
until_pack=$((SECONDS + 60))
while going && [ "$SECONDS" -lt "$last" ]; do
    sleep 1
    if [ "$SECONDS" -ge "$until_pack" ]; then
        pack
        until_pack=$((SECONDS + 60))
    fi
done
if going; then
    say "stopped in the middle of runs at the end of the time"
    CODE=0
    stop $((reserve / 2 + 2))
    wait "$SWEEP" 2>/dev/null
else
    wait "$SWEEP"
    CODE=$?
fi
SWEEP=
tail -n 2 "$OUT/sweep.txt"
say "queue: $(timeout 60 "$PYTHON" "$TOP/main.py" "${words[@]}" --dry-run 2>&1 | tail -n 1)"
