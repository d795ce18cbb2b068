#!/bin/sh
# Runs one shard on each host, by GNU parallel over ssh. The results come back to this directory.
#
#   docs/hosts/parallel.sh 'h1 h2 h3' ADDR [flags of loadgen run]      in an empty directory
#
# Needs: parallel and rsync here, rsync on the hosts, and ssh without a password.
set -eu
hosts=$1
shift
n=$(echo "$hosts" | wc -w)
for host in $hosts; do
    scp -q "$(command -v loadgen)" "$host:loadgen"
    echo "ssh $host ./loadgen"
done | xargs -d '\n' loadgen clock --out clocks.json
start=$(($(date +%s) + ${LEAD:-10}))
# "1/": one job for each host. -q: the flags arrive unchanged. $HOME is the home directory on the host.
printf '1/%s\n' $hosts > sshlogins
seq "$n" | parallel -q --will-cite --sshloginfile sshlogins --jobs 1 --joblog joblog \
    --workdir ... --return "shard-{}-of-$n" --cleanup \
    sh -c 'exec "$HOME/loadgen" run "$@"' sh "$@" --shard "{}/$n" --start-at "$start" --out . ||
    echo "$? jobs failed: see joblog" >&2
loadgen merge . --clocks clocks.json --out whole
