#!/usr/bin/env bash
# Find nginx, the gateway's engine, or install it by the system's package manager where that is allowed.
# Example: scripts/install_nginx.sh
set -euo pipefail
if [ "${1:-}" = "--help" ]; then sed -n '2,3s/^# //p' "$0"; exit 0; fi
if PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v nginx >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing nginx (the gateway) with apt-get ..."
    apt-get update -qq
    # RUNLEVEL=1: install the program, do not start the system's own nginx service on port 80.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx >/dev/null
    exit 0
fi
echo "nginx is missing and this user may not install it. Ask an administrator for: sudo apt-get install nginx" >&2
exit 1
