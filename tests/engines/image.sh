#!/usr/bin/env bash
# Writes a small Debian as a tar archive to standard output, for tests of runtimes
# that need an image: made of files of packages that are installed on this machine,
# so that no registry and no network is needed. Debian and Ubuntu only.
set -euo pipefail

wanted="base-files base-passwd bash bsdutils bubblewrap ca-certificates coreutils dash findutils grep hostname
  libc-bin login mount perl-base procps sed util-linux"

# The packages and all that they depend on, of those that are installed.
closure() {
  local seen=' ' todo=$1 package more
  while [ -n "$todo" ]; do
    more=
    for package in $todo; do
      case $seen in *" $package "*) continue ;; esac
      dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || continue
      seen="$seen$package "
      more="$more $(dpkg-query -W -f '${Pre-Depends}, ${Depends}' "$package" |
        tr ',|' '\n\n' | sed -E 's/\(.*\)//; s/:any//; s/[[:space:]]//g')"
    done
    todo=$(printf '%s\n' $more | sort -u)
  done
  printf '%s\n' $seen
}

{
  # What every root has; /bin and its like are links on a merged system.
  printf '%s\n' /bin /sbin /lib /lib64 /bin/sh /etc/passwd /etc/group /etc/ld.so.cache /etc/ssl/certs
  for package in $(closure "$wanted"); do
    dpkg -L "$package"
  done
} | grep -vE '^/(\.|usr/share/(doc|man|info|locale|lintian|bug)(/.*)?|var/.*)$' | sort -u |
  while IFS= read -r path; do
    # Through the links of a merged /usr: /bin/sh is /usr/bin/sh.
    case $path in
      /bin/?* | /sbin/?* | /lib/?* | /lib64/?*) path=/usr$path ;;
    esac
    if [ -L "$path" ] || [ -f "$path" ]; then printf '%s\n' "$path"; fi
  done | { printf '%s\n' /tmp /mnt && sort -u; } |
  # An empty directory stands for one that is in the image already and not the guest's.
  tar --create --file=- --no-recursion --files-from=- --absolute-names --transform 's,^/mnt$,/home/node,' \
    --transform 's,^/,,S' --owner=0 --group=0
