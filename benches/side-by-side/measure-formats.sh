#!/bin/bash
# Real formats: a backlog of recorded output of a CodeDeploy agent 1.x and its deployments, repeated.
# --format agent (records of several lines), deployments (what their hooks printed), or secrets: a deployments
# log with a needle of redaction in two lines of three, and a secret in one of eight.
# The floor gets the same bytes with each line as an event.
# The agent's command must follow a CodeDeploy agent: conf/deploywatch/run.sh none codedeploy.
OPTS="format=agent bytes=268435456 quiet_s=4 timeout_s=600"
. "$(dirname "$0")/lib.sh"
parse "$@"
deployments=deployment-root/deployment-logs/codedeploy-agent-deployments.log
case $opt_format in
  agent) recorded=1.x/daemon/codedeploy-agent.log.gz live=log/codedeploy-agent.log ;;
  deployments) recorded=1.x/daemon/codedeploy-agent-deployments.log.gz live=$deployments ;;
  secrets) recorded=redact/deployments-1.x.log live=$deployments ;;
  *) echo "no format is called $opt_format" >&2; exit 2 ;;
esac
recorded=$BENCH/../../tests/corpus/$recorded
whole=$RUN/recorded-$opt_format-$opt_bytes
if [ ! -s "$whole" ]; then
  # Repeated by the megabyte: the recordings are small.
  zcat -f "$recorded" >"$whole.once"
  for nth in $(seq $((1 + 1048576 / $(stat -c %s "$whole.once")))); do cat "$whole.once"; done >"$whole.many"
  for nth in $(seq $((opt_bytes / $(stat -c %s "$whole.many")))); do cat "$whole.many"; done >"$whole.tmp"
  rm "$whole.once" "$whole.many"
  mv "$whole.tmp" "$whole"
fi
mkdir -p "$(dirname "$STATE/codedeploy/$live")" "$STATE/codedeploy/log" "$STATE/codedeploy/deployment-root/deployment-logs"
ln "$whole" "$LOGS/recorded.log"
cp "$whole" "$STATE/codedeploy/$live"
bytes=$(stat -c %s "$whole")
take_lock
cat "$whole" "$STATE/codedeploy/$live" >/dev/null
start_sink
zero_snap p0
start_agent
wait_events 1 20 60
# How many events that makes is the agent's own business: it is done when no more come.
wait_events 1000000000000 "$opt_quiet_s" "$opt_timeout_s"
agent_alive || { echo "agent ended early:"; tail -5 "$WORK/agent.log"; } >&2
snap p1
stats
report "formats $NAME tls=$TLS format=$opt_format bytes=$bytes events=$s_events message_mb=$(calc "$s_message_bytes / 1e6" 0)" \
  "wall_s=$(calc "($s_last_arrival_ns - $T_START) / 1e9" 2) cpu_s=$p1_cpu_s cpu_s_per_gb=$(calc "$p1_cpu_s / ($bytes / 1e9)")" \
  "peak_rss_mb=$(calc "$p1_peak_kb / 1024" 1) batch_fill=$s_batch_fill others_pct=$(others p0 p1)"
stop_agent
