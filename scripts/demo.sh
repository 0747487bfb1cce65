#!/usr/bin/env bash
# Generates a small library of videos, indexes it with the built-in model, and searches it by words and by a picture.
#
#   scripts/demo.sh DIRECTORY
set -euo pipefail
cd "$(dirname "$0")/.."

demo=$1
gve() { cargo run --quiet --locked --package gve-cli -- "$@"; }

echo "building gve"
cargo build --quiet --locked --package gve-cli
rm -rf "$demo" && mkdir -p "$demo"

printf '\n== generate 60 videos that the model has never seen\n'
gve synth world --seed 20 --videos 60 --out "$demo/world" > /dev/null
printf '\n== index them\n'
gve index "$demo/world/videos" --library "$demo/library"

# Searches, and says what is to be seen in the first hit, which has to be the thing that was asked for.
search() { # TITLE THING ARGUMENTS...
  local title=$1 thing=$2 results first summary
  printf '\n== search by %s\n' "$title"
  shift 2
  # The line about nano has been seen; anything else on standard error is a fault to show.
  results=$(gve search --library "$demo/library" -k 3 "$@" 2> >(grep -v "using the built-in model nano" >&2))
  echo "$results"
  first=$(sed -n '1s|.*/\(videos/[^ ]*\) .*|\1|p' <<< "$results")
  summary=$(sed -n "s|.*\"summary\",\"text\":\"\(.*\)\",\"video\":\"$first\".*|\1|p" "$demo/world/captions.jsonl")
  echo "     the first shows: $summary"
  if [[ "$summary" != *"$thing"* ]]; then
    echo "demo: no $thing in the first hit" >&2
    return 1
  fi
}

search_text() { # THING TEXT
  search "text: \"$2\"" "$1" "$2"
}

search_text "cactus" "a cactus moves right near four yarn balls"
search_text "crescent" "an orange crescent"
search_text "pink ring" "a pink ring gets smaller beside four guitars"
image=$(ls "$demo"/world/images/000006-0-* | head -n 1)
search "picture: $(basename "$image"), a frame of 000006-0.mp4" "joystick" --image "$image"
printf '\nThe videos are in %s. The built-in model knows scenes like these only; --model Alibaba-NLP/GVE-3B is for real footage.\n' "$demo/world/videos"
