#!/bin/bash
# Starts deploywatch with its defaults on the bench's files: conf/deploywatch/run.sh [gzip|none].
# DEPLOYWATCH: the binary (default: the one cargo builds with --profile dist in this repository).
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=${DEPLOYWATCH:-$here/../../../../target/dist/deploywatch}
mkdir -p -m 700 "$BENCH_STATE/state"
{
  echo "[agent]"
  echo "state_dir = \"$BENCH_STATE/state\""
  echo "[aws]"
  echo "region = \"$AWS_REGION\""
  echo "endpoint_url = \"$BENCH_URL\""
  [ "$BENCH_TLS" = 0 ] || echo "ca_bundle = \"$BENCH_CA\""
  echo "[logs]"
  echo "compression = \"${1:-gzip}\""
  echo "[[source]]"
  echo "name = \"bench\""
  echo "paths = [\"$BENCH_GLOB\"]"
  echo "group = \"/bench\""
  echo "stream = \"{file_name}\""
} >"$BENCH_STATE/deploywatch.toml"
exec "$binary" run --config "$BENCH_STATE/deploywatch.toml"
