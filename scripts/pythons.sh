#!/usr/bin/env bash
# Run the quick tests under every Python that pyproject.toml admits and that is installed here, each in an environment of
# its own (.venv-3.X, kept). Ends with 1 when a version failed, and with 2 when not one of them was found.
#   usage: [PYTHONS="3.11 /opt/python/bin/python3.14"] scripts/pythons.sh [PYTEST_ARGUMENT ...]
# PYTHONS names versions or programs; a version that is named must be found. By default every admitted version is looked
# for as `python3.X` on the path and among pyenv's versions, and one that is missing is reported and passed over.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The two ends of `requires-python`, for example 3.11 and 3.15 in ">=3.11,<3.15".
range=$(sed -n 's/^requires-python = ">=3\.\([0-9]*\),<3\.\([0-9]*\)"$/\1 \2/p' pyproject.toml)
[ -n "$range" ] || { echo "pyproject.toml has no requires-python of the form >=3.A,<3.B" >&2; exit 2; }
read -r oldest beyond <<<"$range"

tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(tests/unit tests/contract sample-app)

# Print the program of a version: the newest that pyenv has, else the one on the path that really is that version.
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
        [0-9]*) program=$(find_python "$named") || { echo "Python $named was asked for and not found." >&2; exit 2; } ;;
        *) program=$(command -v "$named") || { echo "There is no program '$named'." >&2; exit 2; } ;;
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
[ ${#found[@]} -gt 0 ] || { echo "Found none of Python 3.$oldest to 3.$((beyond - 1))." >&2; exit 2; }

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

echo "passed: ${passed[*]:-none}; failed: ${failed[*]:-none}; not installed here: ${missing[*]:-none}"
[ ${#failed[@]} -eq 0 ]
