#!/bin/bash
# Old deployments: a machine on which very many deployments have left their logs. Ships them once,
# restarts the agent with the same state, and measures what they cost then: from the start to the
# first line of a live log at the sink, memory, descriptors, wake-ups, size of the state.
# The agent's command must follow a CodeDeploy agent: conf/deploywatch/run.sh gzip codedeploy.
OPTS="deployments=10000 lines=10 seconds=30 settle_s=8 timeout_s=300"
. "$(dirname "$0")/lib.sh"
parse "$@"
take_lock
root=$STATE/codedeploy/deployment-root
mkdir -p "$STATE/codedeploy/log" "$root/deployment-logs" "$root/ongoing-deployment"
text=
for nth in $(seq "$opt_lines"); do
  text+="2026-11-0$((nth % 9 + 1)) 02:00:00.000 [stdout]line $nth of an old deployment"$'\n'
done
seq -f "$root/0e4af1f5-1f6c-4a6e-9a4e-5d1a3a0c%04g" 0 4 | xargs mkdir -p
awk -v n="$opt_deployments" -v root="$root" 'BEGIN { for (i = 0; i < n; i++)
  printf "%s/0e4af1f5-1f6c-4a6e-9a4e-5d1a3a0c%04d/d-%09d/logs\n", root, i % 5, i }' >"$WORK/dirs"
xargs -n 500 mkdir -p <"$WORK/dirs"
while read -r dir; do printf %s "$text" >"$dir/scripts.log"; done <"$WORK/dirs"
start_sink
start_agent
[ "$opt_deployments" = 0 ] || wait_events $((opt_deployments * opt_lines)) 60 "$opt_timeout_s"
shipped=${GOT:-0}
sleep 3
snap p0
stop_agent
reset_stats
live=$STATE/codedeploy/log/codedeploy-agent.log
echo "2026-11-21T02:00:00 INFO  [codedeploy-agent(1)]: [Aws::CodeDeployCommand::Client 200 0.1 0 retries] poll_host_command()" >>"$live"
start_agent
wait_events 1 20 60
stats
first=$s_last_arrival_ns
sleep "$opt_settle_s"
reset_stats
snap p1
sleep "$opt_seconds"
snap p2
agent_alive || { echo "agent ended early:"; tail -5 "$WORK/agent.log"; } >&2
dt=$(calc "($p2_t - $p1_t) / 1e9" 3)
state=$(du -sb "$STATE/state" 2>/dev/null | cut -f1 || echo 0)
report "old $NAME tls=$TLS deployments=$opt_deployments shipped=$shipped first_line_ms=$(calc "($first - $T_START) / 1e6" 0)" \
  "rss_mb=$(calc "$p2_rss_kb / 1024" 1) peak_rss_mb=$(calc "$p2_peak_kb / 1024" 1)" \
  "peak_first_run_mb=$(calc "$p0_peak_kb / 1024" 1)" \
  "cpu_pct=$(calc "($p2_oncpu_s - $p1_oncpu_s) / $dt * 100" 3) vcsw_per_s=$(calc "($p2_vcsw - $p1_vcsw) / $dt" 1)" \
  "fds=$p2_fds threads=$p2_threads state_bytes=$state"
stop_agent
