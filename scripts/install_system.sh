#!/usr/bin/env bash
# Make sure that programs which are not Python packages are there: silent when they are, otherwise
# installed from Debian's or Ubuntu's packages, otherwise a sentence about what to do.
#   usage: scripts/install_system.sh chromium|etcd-server|nginx|nodejs|pgbouncer|postgresql|prometheus|python3-venv|wrk ...
# A Chromium-like browser under another name is taken from $GOVERSE_CHROMIUM.
set -euo pipefail

is_present() {
    case $1 in
    chromium)
        [ -x "${GOVERSE_CHROMIUM:-}" ] || command -v chromium >/dev/null
        ;;
    etcd-server)
        command -v etcd >/dev/null
        ;;
    nodejs)
        command -v node >/dev/null
        ;;
    debian-archive-keyring)
        [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]
        ;;
    postgresql)
        command -v postgres >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null
        ;;
    prometheus)
        command -v promtool >/dev/null
        ;;
    python3-venv)
        "${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null
        ;;
    *)
        PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null
        ;;
    esac
}

missing=()
for name in "$@"; do
    is_present "$name" || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null || { [ ${#as_root[@]} -gt 0 ] && ! sudo -n true 2>/dev/null; }; then
    {
        echo "Needed and not found: ${missing[*]}."
        echo "On Debian or Ubuntu: sudo apt-get install ${missing[*]}"
        echo "Elsewhere install the same programs; for a browser under another name set GOVERSE_CHROMIUM to its path."
    } >&2
    exit 1
fi

echo "Installing ${missing[*]} from the system's packages"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
}
# Lists on a long-lived machine are often older than the mirror: refresh them before the first try.
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; }; then
    tail -n 30 "$log" >&2
    echo "apt-get could not install: ${missing[*]}" >&2
    exit 1
fi
