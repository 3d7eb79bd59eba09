#!/bin/bash
# Starts deploywatch with its defaults on the bench's files: run.sh [gzip|none] [WORD...]
#   codedeploy  not on the bench's files but on a CodeDeploy agent's, below $BENCH_STATE/codedeploy
#   unredacted  without redaction      unmetered  without metrics
# DEPLOYWATCH: the binary (default: the packages' one, which `packaging/build --host --program` makes).
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=${DEPLOYWATCH:-$here/../../../../target/package/cargo/$(uname -m)-unknown-linux-gnu/dist/deploywatch}
has() { [[ " $words " == *" $1 "* ]]; }
compression=${1:-gzip}
words="${*:2}"
# Each source must say it.
redact=
! has unredacted || redact=$'redact = "off"\n'
mkdir -p -m 700 "$BENCH_STATE/state"
{
  echo "[agent]"
  echo "state_dir = \"$BENCH_STATE/state\""
  echo "[aws]"
  echo "region = \"$AWS_REGION\""
  echo "endpoint_url = \"$BENCH_URL\""
  [ "$BENCH_TLS" = 0 ] || echo "ca_bundle = \"$BENCH_CA\""
  echo "[logs]"
  echo "compression = \"$compression\""
  if has unmetered; then printf '[metrics]\nenabled = false\n'; fi
  if has codedeploy; then
    agent=$BENCH_STATE/codedeploy
    mkdir -p "$agent"
    printf ':log_dir: %s\n:root_dir: %s\n' "$agent/log" "$agent/deployment-root" >"$agent/codedeployagent.yml"
    echo "[codedeploy]"
    echo "config_file = \"$agent/codedeployagent.yml\""
    # Without instance metadata nobody knows the instance's name.
    for log in agent deployments updater; do
      printf '[codedeploy.%s]\nstream = "bench"\n%s' "$log" "$redact"
    done
    printf '[codedeploy.scripts]\nstream = "{deployment_id}"\n%s' "$redact"
  else
    echo "[[source]]"
    echo "name = \"bench\""
    echo "paths = [\"$BENCH_GLOB\"]"
    echo "group = \"/bench\""
    echo "stream = \"{file_name}\""
    printf '%s' "$redact"
  fi
} >"$BENCH_STATE/deploywatch.toml"
exec "$binary" run --config "$BENCH_STATE/deploywatch.toml"
