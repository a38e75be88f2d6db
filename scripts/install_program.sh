#!/usr/bin/env bash
# Find a program, or install its package by the system's package manager where that is allowed.
# Example: scripts/install_program.sh nginx nginx
# Usage:   scripts/install_program.sh PROGRAM PACKAGE
set -euo pipefail
if [ $# != 2 ]; then sed -n '2,4s/^# //p' "$0"; [ "${1:-}" = "--help" ]; exit; fi
if PATH="$PATH:/usr/sbin:/usr/local/sbin:$(echo /usr/lib/postgresql/*/bin)" command -v "$1" >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing $2 with apt-get ..."
    apt-get update -qq
    # RUNLEVEL=1: install the program, do not start the system's own service.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null
    exit 0
fi
echo "$1 is missing and this user may not install it. Ask an administrator for: sudo apt-get install $2" >&2
exit 1
