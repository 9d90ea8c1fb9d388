# Makes a client of a bash script: source it last. A step is a function called step_NAME; they are run in the order in which
# they are written, each in a shell of its own with a time limit, whatever became of those before it. What a step says last is
# the reason when it fails; one that ends with `skip REASON` cannot be tried here. The lines on standard output are those of
# xtask/src/clients/report.rs, where `-` stands for the `_` of function names.

STEP_SECONDS=${STEP_SECONDS:-90}
SKIPPED=77

die() { echo "$*"; exit 1; }
skip() { echo "$*"; exit "$SKIPPED"; }

# after STEP: which this one builds on.
after() { [ -e "$CLIENT_DIR/passed-$1" ] || die "needs $1, which failed"; }

# says TEXT... -- COMMAND...: the command succeeds and prints each text.
says() {
    local texts=() text output
    while [ "$1" != -- ]; do texts+=("$1"); shift; done
    shift
    output=$("$@" 2>&1) || { echo "$output"; die "$(reason "$output" "$* failed")"; }
    for text in "${texts[@]}"; do
        [[ $output == *"$text"* ]] || { echo "$output"; die "$* does not say \"$text\""; }
    done
    echo "$output"
}

# refuses TEXT COMMAND...: the command fails and prints the text.
refuses() {
    local text=$1 output
    shift
    output=$("$@" 2>&1) && die "$* succeeds"
    [[ $output == *"$text"* ]] || { echo "$output"; die "$* does not say \"$text\""; }
    echo "$output"
}

# eventually SECONDS COMMAND...: until it succeeds.
eventually() {
    local deadline=$((SECONDS + $1)) output
    shift
    until output=$("$@" 2>&1); do
        [ "$SECONDS" -lt "$deadline" ] || { echo "$output"; die "in vain: $*: $(reason "$output" failed)"; }
        sleep 0.2
    done
    echo "$output"
}

# reason OUTPUT OTHERWISE: the line of a program's output that says why it failed.
reason() {
    local line
    line=$(grep -iE '^ *(error|fatal|unable|the |.*: (error|not found|forbidden))' <<<"$1" | tail -n 1)
    [ -n "$line" ] || line=$(grep -v '^ *$' <<<"$1" | tail -n 1)
    echo "${line:-$2}"
}

if [ "${1:-}" = --step ]; then
    set -euo pipefail
    # What was started in the background ends with the step.
    trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
    "step_$2"
    exit
fi

# What steps leave running ends with the client.
if declare -F cleanup >/dev/null; then trap cleanup EXIT; fi

steps=$(sed -n 's/^step_\([a-z0-9_]*\)() {.*$/\1/p' "$0")
for name in $steps; do echo "plan ${name//_/-}"; done
for name in $steps; do
    started=$EPOCHREALTIME
    log=$CLIENT_DIR/step.log
    timeout --kill-after=5 "$STEP_SECONDS" bash "$0" --step "$name" >"$log" 2>&1 </dev/null
    code=$?
    seconds=$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $started }")
    # kubectl adds a line of advice to what it says of a kind that there is not.
    last=$(grep -v -e '^ *$' -e '^ensure CRDs are installed first$' "$log" | tail -n 1)
    echo "--- $name ended with $code" >&2
    cat "$log" >&2
    case $code in
    0)
        touch "$CLIENT_DIR/passed-${name//_/-}"
        echo "ok ${name//_/-} $seconds"
        ;;
    "$SKIPPED") echo "skip ${name//_/-} $last" ;;
    124 | 137) echo "fail ${name//_/-} $seconds not done after $STEP_SECONDS s: $last" ;;
    *) echo "fail ${name//_/-} $seconds ${last:-it ended with $code}" ;;
    esac
done
