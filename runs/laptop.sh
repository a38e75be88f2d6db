#!/usr/bin/env bash
# One family on a laptop: from data to a second version that has taken over from the first.
#
#     runs/laptop.sh                                     # budget's categorizer, on generated data: 6 minutes
#     FAMILY=catalog runs/laptop.sh
#     FAMILY=signflow DATA=recordings/common_signs.npz runs/laptop.sh
#     RECORDED=recordings/budget runs/laptop.sh       # cross-validates on recorded data, too
#
# DATA is what the models learn from, RECORDED what the recipe is cross-validated on; where a family reads one kind of
# file for both, as SignFlow does, they may be the same. The family's page in docs/families says which it reads.
#
# `make install nginx` comes first. Everything is kept in one folder ($WORK) and served on other ports: a server
# that runs already is not affected. Minutes are those of two cores; the models are small, and what they learn
# from generated data is worth nothing elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"

FAMILY=${FAMILY:-budget} MODELS=
case $FAMILY in
    budget) MODEL=budget_categorizer OPTIONS="--models budget_categorizer" MODELS="--models budget_categorizer" ;;
    code_health) MODEL=code_risk OPTIONS="--models code_risk" ;;
    market) MODEL=market_alerts OPTIONS="" ;;
    *) MODEL=$FAMILY OPTIONS="" ;;
esac
if [ -n "${DATA:-}" ]; then OPTIONS="$OPTIONS --data $DATA"; fi
WORK=${WORK:-/tmp/marina-laptop-$FAMILY}
URL=http://127.0.0.1:18080
export MARINA_STATE_DIR=$WORK/state MARINA_ARCHIVE_STORE=$WORK/store
export MARINA_INFERENCE_PORT=18080 MARINA_MANAGEMENT_PORT=18081 MARINA_METRICS_PORT=18082
[ ! -e "$WORK" ] || { echo "$WORK exists: remove it, or name another one with WORK=FOLDER"; exit 1; }
mkdir -p "$WORK"
stage() { printf '\n== %s\n' "$*"; }

stage "1. Train, evaluate, build and sign the first version"  # 1 to 2 minutes
python scripts/train.py "$FAMILY" $OPTIONS --seed 0

if [ -n "${RECORDED:-}" ]; then
    stage "2. Cross-validate on people, projects or times that no model has seen"  # 5 minutes to an hour, by the data
    python scripts/cross_validate.py "$FAMILY" --data "$RECORDED" $MODELS
fi

stage "3. Inspect the archive: what it takes, who signed it, does its graph answer as the trained model did"  # seconds
python scripts/inspect_archive.py "$WORK/store/$MODEL-1.0.mar"

stage "4. Serve it"  # 10 seconds
python scripts/serve.py >"$WORK/serve.log" 2>&1 &
SERVER=$!
trap 'kill "$SERVER" 2>/dev/null && wait "$SERVER" || true' EXIT
until curl -sf "$URL/ping/$MODEL" >/dev/null; do
    kill -0 "$SERVER" || { cat "$WORK/serve.log"; exit 1; }
    sleep 1
done

stage "5. Ask it"  # a second
python -m zipfile -e "$WORK/store/$MODEL-1.0.mar" "$WORK/unpacked"
ask() { curl -s "$URL/predictions/$MODEL" -H 'Content-Type: application/json' -d "@$WORK/unpacked/example.json" "$@"; }
ask | cut -c 1-600

load() {  # COUNT: that many requests, four at a time; prints how many got each status
    seq "$1" | xargs -P 4 -I '{}' curl -s -o /dev/null -w '%{http_code}\n' "$URL/predictions/$MODEL" \
        -H 'Content-Type: application/json' -d "@$WORK/unpacked/example.json" | sort | uniq -c
}
stage "6. Load it for a moment"  # half a minute
time load 1000

stage "7. Train a second version"  # 1 to 2 minutes
python scripts/train.py "$FAMILY" $OPTIONS --seed 1

stage "8. Release it: half of the traffic, then all of it, as long as it is shown to do no harm"  # 1 minute
# The shipped policy holds each step for an hour; a laptop has seconds.
sed '/^steps:/,/^$/d' marina/rollout/policy/default.yaml >"$WORK/policy.yaml"
printf 'steps:\n  - {share: 0.50, at_least_s: 5}\n  - {share: 1.00, at_least_s: 5}\n' >>"$WORK/policy.yaml"
python scripts/deploy_canary.py --model "$MODEL" --version 2.0 --policy "$WORK/policy.yaml" --wait &
ROLLOUT=$!
while kill -0 "$ROLLOUT" 2>/dev/null; do load 500; done      # a judge without traffic has no evidence
wait "$ROLLOUT"

stage "9. Explain it: the timeline, and the evidence of the last verdict"  # seconds
python -m marina.rollout explain --model "$MODEL"
python -m marina.rollout ledger verify
ask -o /dev/null -D - | grep -i x-model-version

stage "10. Stop: requests in flight finish, nothing is left running"  # seconds
kill "$SERVER"
wait "$SERVER" || true
trap - EXIT
echo "What was built and recorded is in $WORK; remove it with: rm -r $WORK"
