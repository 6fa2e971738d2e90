#!/usr/bin/env bash
# Install programs that are not Python packages. Prints nothing if all are present. Otherwise installs the missing ones
# from the packages of Debian or Ubuntu, or prints what to do if that is not possible.
#   usage: scripts/install_system.sh chromium|etcd-server|nginx|nodejs|pgbouncer|postgresql|prometheus|python3-venv|wrk ...
# Set GOVERSE_CHROMIUM to the path of a Chromium-based browser with another name.
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
        echo "Required programs not found: ${missing[*]}."
        echo "On Debian or Ubuntu, run: sudo apt-get install ${missing[*]}"
        echo "On other systems, install the same programs. Set GOVERSE_CHROMIUM to the path of a Chromium-based browser with another name."
    } >&2
    exit 1
fi

echo "Installing ${missing[*]} from the system's packages"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
}
# Package lists are often outdated, so update them before the first attempt.
if ! { apt update && apt install --no-install-recommends "${missing[@]}"; }; then
    tail -n 30 "$log" >&2
    echo "apt-get could not install: ${missing[*]}" >&2
    exit 1
fi
