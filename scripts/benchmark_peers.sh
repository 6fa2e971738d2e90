#!/usr/bin/env bash
# Install the systems that the benchmark compares GoVerse with: scripts/benchmark_peers.sh FOLDER [restate] [ray] [queues]
#
# They are servers and SDKs of other projects, not dependencies, so each gets an environment of its own in FOLDER.
set -euo pipefail

folder=$1
python=${PYTHON:-python3}
shift

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

for peer in "$@"; do
  stamp=$folder/.$peer-installed
  [[ $stamp -nt ${BASH_SOURCE[0]} ]] && continue
  echo "installing $peer for the benchmark into $folder"
  rm -rf "${folder:?}/$peer"
  "$python" -m venv "$folder/$peer"
  pip=("$folder/$peer/bin/python" -m pip install --quiet --disable-pip-version-check)
  case $peer in
    restate)
      command -v npm >/dev/null || { echo "npm is missing: scripts/install_system.sh npm" >&2; exit 1; }
      npm install --silent --no-audit --no-fund --prefix "$folder/restate" '@restatedev/restate-server@~1.7.0'
      "${pip[@]}" 'restate-sdk~=1.3.0' uvicorn uvloop httptools
      ;;
    ray)
      "${pip[@]}" 'ray[serve]~=2.60.0' uvloop httptools
      ;;
    queues)
      "${pip[@]}" 'procrastinate~=3.10.0' 'psycopg[binary,pool]~=3.3.0' 'dbos~=3.4.0' uvloop
      ;;
    *)
      echo "unknown peer: $peer (known: restate, ray, queues)" >&2
      exit 2
      ;;
  esac
  touch "$stamp"
done
