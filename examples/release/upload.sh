#!/bin/sh
# Copy FILE to the directory DEPOT and print where it went. The depot is down for the first $OUTAGE attempts: then this
# exits with 75, EX_TEMPFAIL of sysexits.h, which is what the flow retries.
set -eu
file=$1 depot=$2
mkdir -p "$depot"
if [ "$GRAFT_ATTEMPT" -le "$OUTAGE" ]; then
    echo "depot $depot does not answer" >&2
    exit 75
fi
cp "$file" "$depot/"
echo "$depot/$(basename "$file")"
