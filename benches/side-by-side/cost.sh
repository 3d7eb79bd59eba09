#!/bin/bash
# Measures deploywatch beside the floor and writes the table "What it costs" of the README.
#   cost.sh [--bytes N] [--only-table]     results go to results/cost.txt, the table into README.md
# Build first: cargo build --release (here), cargo build --profile dist (two levels up).
set -euo pipefail
cd "$(dirname "$0")"
readme=../../README.md
results=results/cost.txt
bytes=1073741824
only_table=
while [ $# -gt 0 ]; do
  case $1 in
    --bytes) bytes=$2; shift 2 ;;
    --only-table) only_table=1; shift ;;
    *) echo "usage: $0 [--bytes N] [--only-table]" >&2; exit 2 ;;
  esac
done
floor='exec target/release/floor --url $BENCH_URL --ca $BENCH_CA --linger $BENCH_GLOB'
ours=conf/deploywatch/run.sh

measure() {
  mkdir -p results
  : >"$results"
  local files
  for files in 1 64; do
    ./measure-drain.sh --tls --files $files --bytes "$bytes" --name floor-none --out $results -- sh -c "$floor"
    ./measure-drain.sh --tls --files $files --bytes "$bytes" --name deploywatch-none --out $results -- $ours none
    ./measure-drain.sh --tls --files $files --bytes "$bytes" --name floor-gzip --out $results -- sh -c "${floor/--url/--gzip 1 --url}"
    ./measure-drain.sh --tls --files $files --bytes "$bytes" --name deploywatch-gzip --out $results -- $ours gzip
  done
  ./measure-idle.sh --tls --files 1 --name deploywatch --out $results -- $ours
  ./measure-idle.sh --tls --files 1000 --seconds 60 --name deploywatch --out $results -- $ours
  ./measure-steady.sh --tls --rate 1000 --name deploywatch --out $results -- $ours
  ./measure-steady.sh --tls --rate 0.4 --seconds 75 --name deploywatch-quiet --out $results -- $ours
}

# A value of the last result of that kind, name and further word.
line_of() { # what name word
  grep "^$1 $2 " $results | grep -w -- "$3" | tail -1
}
get() { # key what name word
  line_of "$2" "$3" "$4" | tr ' ' '\n' | sed -n "s/^$1=//p" | head -1
}

table() {
  echo "| what | the floor | deploywatch |"
  echo "|---|---|---|"
  local files kind
  for kind in none gzip; do
    for files in 1 64; do
      echo "| drain a backlog over TLS, $files file(s), ${kind/none/uncompressed}: CPU s per GB |" \
        "$(get cpu_s_per_gb drain floor-$kind "files=$files") |" \
        "$(get cpu_s_per_gb drain deploywatch-$kind "files=$files") |"
    done
  done
  for files in 1 64; do
    echo "| the same, $files file(s), gzip: peak memory, MB |" \
      "$(get peak_rss_mb drain floor-gzip "files=$files") |" \
      "$(get peak_rss_mb drain deploywatch-gzip "files=$files") |"
  done
  echo "| the same, 1 file: how full a request is, of 1 | $(get batch_fill drain floor-gzip files=1) | $(get batch_fill drain deploywatch-gzip files=1) |"
  for files in 1 1000; do
    echo "| idle with $files file(s): memory, MB | - | $(get rss_mb idle deploywatch "files=$files") |"
    echo "| idle with $files file(s): CPU, wake-ups a second | - |" \
      "$(get cpu_pct idle deploywatch "files=$files") %, $(get vcsw_per_s idle deploywatch "files=$files") |"
  done
  echo "| 1,000 lines a second: CPU | - | $(get cpu_pct steady deploywatch rate=1000) % |"
  echo "| first line after quiet, write to arrival: median, p99 | - |" \
    "$(get p50_ms steady deploywatch-quiet rate=0.4) ms, $(get p99_ms steady deploywatch-quiet rate=0.4) ms |"
}

[ -n "$only_table" ] || measure
begin='<!-- made by benches/side-by-side/cost.sh -->'
end='<!-- end -->'
grep -qF "$begin" $readme || { table; echo "no place for the table in $readme" >&2; exit 1; }
table >results/table.md
awk -v begin="$begin" -v end="$end" '
  $0 == begin { print; while ((getline line < "results/table.md") > 0) print line; skip = 1 }
  $0 == end { skip = 0 }
  !skip && $0 != begin { print }
' $readme >results/README.md
cat results/README.md >$readme
