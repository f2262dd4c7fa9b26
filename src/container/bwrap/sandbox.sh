# Becomes the sandbox. Run as: -c <this> --setenv NANOCLAW_LABEL <label> <options>
# <filter or -> <cgroup.procs file>... -- <program and arguments>
# The first three are the label on the command line; see process.rs.
shift 2
options=$1 filter=$2
shift 2
# Into the control groups first, so that nothing of the guest is ever outside.
while [ "$1" != -- ]; do
    echo $$ >"$1" || { echo "nanoclaw: cannot enter the cgroup $1" >&2; exit 1; }
    shift
done
shift
ulimit -c 0
# Where memory runs out, the guest goes before the host.
echo 500 >/proc/self/oom_score_adj
# What the daemon inherited open is none of the guest's business.
for fd in /proc/self/fd/*; do
    fd=${fd##*/}
    [ "$fd" -le 2 ] || eval "exec $fd>&-"
done
exec 9<"$options" || exit 1
[ "$filter" = - ] || exec 8<"$filter" || exit 1
rm -f -- "$options" "$filter"
# The daemon's environment would show in /proc/1/environ.
exec env -i "$@"
