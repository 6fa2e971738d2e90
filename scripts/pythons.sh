#!/usr/bin/env bash
# Run the quick tests under every supported Python that is installed, each in its own environment (.venv-3.X, kept).
# Exit codes: 1 if a version failed, 2 if none was found.
#   usage: [PYTHONS="3.11 /opt/python/bin/python3.14"] scripts/pythons.sh [PYTEST_ARGUMENT ...]
# PYTHONS lists versions or programs that must exist. By default, the script searches for every version that
# pyproject.toml supports, as `python3.X` on the path and among pyenv's versions; missing versions are reported and skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The bounds of `requires-python`, for example 3.11 and 3.15 in ">=3.11,<3.15".
range=$(sed -n 's/^requires-python = ">=3\.\([0-9]*\),<3\.\([0-9]*\)"$/\1 \2/p' pyproject.toml)
[ -n "$range" ] || { echo "pyproject.toml has no requires-python of the form >=3.A,<3.B" >&2; exit 2; }
read -r oldest beyond <<<"$range"

tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(tests/unit tests/contract sample-app -m "not system and not deploy")

# Print the program of a version: the newest in pyenv, or else the one on the path whose version matches.
find_python() {
    local wanted=$1 root=${PYENV_ROOT:-$HOME/.pyenv} candidate
    local candidates=()
    mapfile -t candidates < <(compgen -G "$root/versions/$wanted.*/bin/python" | sort --version-sort --reverse)
    for candidate in "${candidates[@]}" "python$wanted" python3; do
        candidate=$(command -v "$candidate") || continue
        if [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$wanted" ]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

found=()
missing=()
if [ -n "${PYTHONS:-}" ]; then
    for named in $PYTHONS; do
        case $named in
        [0-9]*) program=$(find_python "$named") || { echo "Python $named was requested but not found." >&2; exit 2; } ;;
        *) program=$(command -v "$named") || { echo "The program '$named' was not found." >&2; exit 2; } ;;
        esac
        found+=("$program")
    done
else
    for ((minor = oldest; minor < beyond; minor++)); do
        if program=$(find_python "3.$minor"); then
            found+=("$program")
        else
            missing+=("3.$minor")
        fi
    done
fi
[ ${#found[@]} -gt 0 ] || { echo "No Python from 3.$oldest to 3.$((beyond - 1)) was found." >&2; exit 2; }

passed=()
failed=()
for program in "${found[@]}"; do
    version=$("$program" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    echo "== Python $version ($program)"
    if PYTHON=$program scripts/environment.sh ".venv-$version" '.[dev]' &&
        ".venv-$version/bin/python" -m pytest "${tests[@]}"; then
        passed+=("$version")
    else
        failed+=("$version")
    fi
done

echo "passed: ${passed[*]:-none}; failed: ${failed[*]:-none}; not installed: ${missing[*]:-none}"
[ ${#failed[@]} -eq 0 ]
