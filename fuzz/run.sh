#!/usr/bin/env bash
# Fuzzes one parser, or all of them one after the other, with the stable toolchain:
#
#     fuzz/run.sh records 600        ten minutes
#     fuzz/run.sh all 60             a minute each
#
# What it learns stays in fuzz/corpus/, what fails in fuzz/artifacts/. A failure is
# shown again by naming its file: fuzz/run.sh records fuzz/artifacts/records/crash-...
set -euo pipefail
cd "$(dirname "$0")"
target=${1:?which: $(cd targets && echo *.rs | sed 's/\.rs//g'), or all}
what=${2:-60}

# Coverage as libFuzzer wants it. No sanitizer: the program has no unsafe code.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
triple=$(rustc -vV | sed -n 's/^host: //p')

run() {
    local features=()
    [ "$1" = whatsapp ] && features=(--features whatsapp)
    cargo build --quiet --release --target "$triple" --bin "$1" "${features[@]}"
    mkdir -p "corpus/$1" "artifacts/$1"
    local program="target/$triple/release/$1"
    case $what in
        *[!0-9]*) "$program" "../${what#../}" ;;
        *) "$program" -max_total_time="$what" -timeout=10 -rss_limit_mb=2048 -max_len=16384 \
            -print_final_stats=1 -artifact_prefix="artifacts/$1/" "corpus/$1" $([ -d "seeds/$1" ] && echo "seeds/$1") ;;
    esac
}

if [ "$target" = all ]; then
    for file in targets/*.rs; do run "$(basename "$file" .rs)"; done
else
    run "$target"
fi
