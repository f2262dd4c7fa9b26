#!/usr/bin/env bash
# Checks docs/conformance.md: each of the 246 cases of 1.x stands there once, with
# a test that exists in the file named or with a reason. Prints how many of each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
table=docs/conformance.md
failed=0

wrong() {
  printf 'conformance: %s\n' "$*" >&2
  failed=1
}

expected=$(
  while read -r suite cases; do
    for ((n = 1; n <= cases; n++)); do printf '%s-%02d\n' "$suite" "$n"; done
  done <<'SUITES'
DB 29
MIG 1
FMT 42
IPC 33
GQ 13
CR 3
RT 9
TS 4
SA 19
RO 8
GF 5
TZ 8
CH 4
RC 17
RG 20
SV 10
PL 13
EN 8
SUITES
)
found=$(sed -n 's/^| \([A-Z]\{2,3\}-[0-9]\{2\}\) |.*/\1/p' "$table")
while read -r sign id; do
  case $sign in
    '<') wrong "$id is not in $table" ;;
    '>') wrong "$id is there twice, or is no case" ;;
  esac
done < <(diff <(sort <<<"$expected") <(sort <<<"$found") | grep '^[<>]' || true)

covered=0 differs=0 missing=0 untested=0
function='^[a-z0-9_]{15,}$'
while IFS='|' read -r _ id _ here; do
  id=${id// /}
  case $here in
    ' differs: '?*) differs=$((differs + 1)) ;;
    ' not built: a test; '?*) untested=$((untested + 1)) ;;
    ' not built: '?*) missing=$((missing + 1)) ;;
    ' `'*) covered=$((covered + 1)) ;;
    *) wrong "$id has neither a test nor a reason" ;;
  esac
  # Each function is looked for in the file that was named before it, else anywhere.
  file='' tests=0
  while read -r name; do
    if [[ $name == src/* || $name == tests/* ]]; then
      file=$name
      [ -f "$file" ] || wrong "$id names $file, which does not exist"
    elif [[ $name =~ $function && $name == *_*_* ]]; then
      tests=$((tests + 1))
      # shellcheck disable=SC2086 # one file, or two directories
      grep -rqE "fn $name\(" ${file:-src tests} 2>/dev/null || wrong "$id names $name, which is not in ${file:-src or tests}"
    fi
  done < <(grep -o '`[^`]*`' <<<"$here" | tr -d '`' || true)
  [[ $here != ' `'* ]] || [ "$tests" -gt 0 ] || wrong "$id names no test"
done < <(grep -E '^\| [A-Z]{2,3}-[0-9]{2} \|' "$table")

printf 'cases of 1.x: %s\n' "$((covered + differs + missing + untested))"
printf '   covered by a test: %s\n' "$covered"
printf '   differs or not built: %s (differs: %s, a part not built: %s, a test not built: %s)\n' \
  "$((differs + missing + untested))" "$differs" "$missing" "$untested"
exit $failed
