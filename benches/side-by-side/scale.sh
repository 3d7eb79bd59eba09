#!/bin/bash
# CPU per GB over sizes and numbers of files: scale.sh [--tls] [--out FILE] [--largest BYTES] -- COMMAND
# (The start of the agent is part of it: below 100 MB, read `cpu_s`.)
set -euo pipefail
cd "$(dirname "$0")"
tls=() out=() largest=2147483648
while [ $# -gt 0 ]; do
  case $1 in
    --tls) tls=(--tls); shift ;;
    --out) out=(--out "$2"); shift 2 ;;
    --largest) largest=$2; shift 2 ;;
    --) shift; break ;;
    *) echo "usage: $0 [--tls] [--out FILE] [--largest BYTES] -- COMMAND..." >&2; exit 2 ;;
  esac
done
for bytes in 1000000 10000000 100000000 1000000000 "$largest"; do
  ./measure-drain.sh "${tls[@]}" "${out[@]}" --name "scale-bytes-$bytes" --bytes "$bytes" -- "$@"
done
for files in 10 100 1000 10000; do
  ./measure-drain.sh "${tls[@]}" "${out[@]}" --name "scale-files-$files" --files "$files" --bytes 268435456 -- "$@"
done
