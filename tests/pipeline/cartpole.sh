#!/usr/bin/env bash
# Learn CartPole in separate steps with files between them, again and again, and keep the best agent.
# usage: cartpole.sh [FILE.yaml:NAME] [FOLDER] [SEED] [ROUNDS]
set -euo pipefail
config=${1:-examples.yaml:cartpole}
out=${2:-runs/pipeline}
seed=${3:-0}
rounds=${4:-10}

step() { dreamctl "$@" --config "$config" --seed "$seed"; }
score() { dreamctl eval "$1" --config "$config" --seed "$2" --json | python -c 'import json, sys; print(json.load(sys.stdin)["return_mean"])'; }
better() { python -c 'import sys; sys.exit(not float(sys.argv[1]) >= float(sys.argv[2]))' "$1" "$2"; }

replay=$(step collect -o "$out/replay" -q)
wm=$(step train-wm "$replay" -o "$out/wm.ckpt" -q)
agent=$(step train-ac "$wm" "$replay" -o "$out/agent.ckpt" -q)
best=-1000000
for ((round = 1; round <= rounds; round++)); do
  replay=$(step collect --policy "$agent" -o "$replay" --append -q)
  wm=$(step train-wm "$replay" --init "$agent" -o "$wm" --overwrite -q)
  agent=$(step train-ac "$wm" "$replay" --init "$agent" -o "$agent" --overwrite -q)
  mean=$(score "$agent" $((seed + 1000)))
  echo "round $round: mean return $mean" >&2
  if better "$mean" "$best"; then
    best=$mean
    cp "$agent" "$out/agent-best.ckpt"
  fi
done

step eval "$out/agent-best.ckpt" -o "$out/eval.h5" --frames --overwrite
dreams=$(step imagine "$out/agent-best.ckpt" "$replay" -o "$out/dreams.h5" --set imagine.actions=recorded -q)
step render "$dreams" -o "$out/dreams.gif" -q
