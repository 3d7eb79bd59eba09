#!/bin/bash
# Measures deploywatch beside the floor and writes the table "What it costs" of the README.
#   cost.sh [--bytes N] [--only-table]     results go to results/cost.txt, the table into README.md
# Drains and a thousand lines a second take three turns, of which the least CPU counts: a machine's noise
# only adds.
# Build first: cargo build --release (here), packaging/build --host --program (two levels up).
# The peers' figures are those of peers/*.md: their ranges over configurations (conf/) and runs.
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
  local files format turn
  m() { local script=$1; shift; "./measure-$script.sh" --tls --out "$results" "$@"; }
  for turn in 1 2 3; do for files in 1 64; do
    m drain --files $files --bytes "$bytes" --name floor-none -- sh -c "$floor"
    m drain --files $files --bytes "$bytes" --name deploywatch-none -- $ours none
    m drain --files $files --bytes "$bytes" --name floor-gzip -- sh -c "${floor/--url/--gzip 1 --url}"
    m drain --files $files --bytes "$bytes" --name deploywatch-gzip -- $ours gzip
  done; done
  for turn in 1 2 3; do
    m drain --files 1000 --bytes "$bytes" --name floor-none -- sh -c "$floor"
    m drain --files 1000 --bytes "$bytes" --name deploywatch-none -- $ours none
  done
  for turn in 1 2 3; do for format in agent deployments secrets; do
    m formats --format $format --bytes $((bytes / 4)) --name floor -- sh -c "$floor"
    m formats --format $format --bytes $((bytes / 4)) --name deploywatch -- $ours none codedeploy
  done; done
  m share --what redaction --with none --without 'none unredacted' --bytes $((bytes / 4)) --name deploywatch -- $ours
  m idle --files 1 --name deploywatch -- $ours
  m idle --files 1000 --seconds 60 --name deploywatch -- $ours
  m old --deployments 10000 --name deploywatch -- $ours gzip codedeploy
  for turn in 1 2 3; do m steady --rate 1000 --name deploywatch -- $ours; done
  m steady --rate 0.4 --seconds 75 --name deploywatch-quiet -- $ours
  m fair --bytes $((bytes * 2)) --name deploywatch -- $ours
  m rotate --mode rename --name deploywatch -- $ours
  m rotate --mode copytruncate --name deploywatch -- $ours
  m kill --name deploywatch -- $ours
  m outage --mode 503 --name deploywatch -- $ours
  m outage --mode hang --name deploywatch -- $ours
  # Wants root and cgroups.
  [ "$(id -u)" != 0 ] || m starved --name deploywatch -- $ours
}

# The result with the least CPU, or the last where none says it.
least() {
  awk '{
    cpu = ""
    for (i = 1; i <= NF; i++) if ($i ~ /^cpu_(s|pct)=/) cpu = substr($i, index($i, "=") + 1) + 0
    if (NR == 1 || cpu <= best) { best = cpu; line = $0 }
  } END { if (NR) print line }'
}

# key what name word: a value of that result of that kind, name and further word.
get() {
  local value
  value=$(grep "^$2 $3 " $results | grep -w -- "$4" | least | tr ' ' '\n' | sed -n "s/^$1=//p" | head -1)
  echo "${value:-not measured}"
}
row() { # what fluent-bit vector floor ours; what was not measured is left out
  [[ "$5" != *"not measured"* ]] || return 0
  printf '| %s | %s | %s | %s | %s |\n' "$@"
}
# The same in whole milliseconds.
ms() {
  local value
  value=$(get "$@")
  [ "$value" = "not measured" ] && echo "$value" || printf '%.0f\n' "$value"
}
of() { get "$1" "$2" deploywatch "$3"; }
lost() { echo "$(of lost "$1" "$2") lost, $(of dup "$1" "$2") twice"; }

table() {
  echo "| what | Fluent Bit 5.1.1 | Vector 0.56 | the floor | deploywatch |"
  echo "|---|---|---|---|---|"
  row 'drain a backlog, TLS, uncompressed, 1 file: CPU s per GB' 5.6-8.4 61-64 \
    "$(get cpu_s_per_gb drain floor-none files=1)" "$(get cpu_s_per_gb drain deploywatch-none files=1)"
  row 'the same, 64 files' 6.8-9.2 92-98 \
    "$(get cpu_s_per_gb drain floor-none files=64)" "$(get cpu_s_per_gb drain deploywatch-none files=64)"
  row 'the same, 1,000 files, a request for each' - - \
    "$(get cpu_s_per_gb drain floor-none files=1000)" "$(get cpu_s_per_gb drain deploywatch-none files=1000)"
  row 'the same, gzip, 1 file' - - \
    "$(get cpu_s_per_gb drain floor-gzip files=1)" "$(get cpu_s_per_gb drain deploywatch-gzip files=1)"
  row 'the same, gzip, 64 files' - - \
    "$(get cpu_s_per_gb drain floor-gzip files=64)" "$(get cpu_s_per_gb drain deploywatch-gzip files=64)"
  row "the CodeDeploy agent's log, uncompressed" - - \
    "$(get cpu_s_per_gb formats floor format=agent)" "$(of cpu_s_per_gb formats format=agent)"
  row 'its deployments log, uncompressed' - - \
    "$(get cpu_s_per_gb formats floor format=deployments)" "$(of cpu_s_per_gb formats format=deployments)"
  row 'the same, secrets in every eighth line' - - \
    "$(get cpu_s_per_gb formats floor format=secrets)" "$(of cpu_s_per_gb formats format=secrets)"
  row 'redaction, of the CPU of a drain' - - - "$(of share_pct share what=redaction) %"
  row 'peak memory in a drain, 1 file, MB' 180-238 106-110 \
    "$(get peak_rss_mb drain floor-none files=1)" "$(get peak_rss_mb drain deploywatch-none files=1)"
  row 'the same, 64 files' 261-1,410 1,081-1,174 \
    "$(get peak_rss_mb drain floor-none files=64)" "$(get peak_rss_mb drain deploywatch-none files=64)"
  row 'how full a request is in a drain, of 1' 0.6-0.76 0.39-1.0 \
    "$(get batch_fill drain floor-none files=1)" "$(get batch_fill drain deploywatch-none files=1)"
  row 'idle memory, 1 file, MB' 12.6 49 - "$(of rss_mb idle files=1)"
  row 'the same, 1,000 files' 41 87 - "$(of rss_mb idle files=1000)"
  row 'idle, 1,000 files: CPU, wake-ups a second' '0.28 %, 6' '2.2 %, 4,755' - \
    "$(of cpu_pct idle files=1000) %, $(of vcsw_per_s idle files=1000)"
  row 'idle, 10,000 old deployments: memory, start to first line' - - - \
    "$(of rss_mb old deployments=10000) MB, $(of first_line_ms old deployments=10000) ms"
  row '1,000 lines a second: CPU' '3.3-5.5 %' '5.2 %' - "$(of cpu_pct steady rate=1000) %"
  row 'first line after quiet, write to arrival: median, p99' 'about 1 s' 'about 1 s' - \
    "$(ms p50_ms steady deploywatch-quiet rate=0.4) ms, $(ms p99_ms steady deploywatch-quiet rate=0.4) ms"
  row "a young file's line beside a backlog of $(($(of bytes fair deploywatch) / 1000000000)) GB: median, p99" - - - \
    "$(ms p50_ms fair deploywatch deploywatch) ms, $(ms p99_ms fair deploywatch deploywatch) ms"
  row '10 renames under load, of 105,000 lines' '0 to 95,000 lost' '0 lost' - "$(lost rotate mode=rename)"
  row '10 copy-truncates under load' '417-1,133 lost' '77-89 lost' - "$(lost rotate mode=copytruncate)"
  row 'kill -9 in mid-drain' '0-899,230 lost, 26,690-1.1 M twice' '0 lost, 142,381 twice' - "$(lost kill deploywatch)"
  row '60 s of 503' '0-51,001 lost' '0 lost' - "$(lost outage mode=503)"
  row '60 s without an answer' - - - "$(lost outage mode=hang)"
  row '5 % of a core and 32 MB: a backlog of 64 MB' - - - \
    "$(lost starved deploywatch), $(of caught_up_s starved deploywatch) s"
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
