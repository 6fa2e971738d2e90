#!/usr/bin/env bash
# End-to-end test in a kind cluster, created with `kind create cluster --config tests/kind/cluster.yaml`: install, helm
# test, calls through the gate, a node Pod deleted and one killed under load, an upgrade under load, and an
# uninstallation that leaves only the volumes with data.
#   usage: tests/kind/end_to_end.sh [KIND_CLUSTER]      needs docker, helm, kind, kubectl, and .venv (make test)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

cluster=${1:-kind}
space=objects
release=goverse
port=18443
python=${PYTHON:-.venv/bin/python}
work=$(mktemp -d)
forward=
load=

step() { printf '\n=== %s\n' "$*"; }
kube() { kubectl --context "kind-$cluster" --namespace "$space" "$@"; }
chart() { helm --kube-context "kind-$cluster" --namespace "$space" "$@"; }

finish() {
    status=$?
    set +e # run all steps of the cleanup, even if some fail
    [ -z "$load" ] || kill "$load"
    if [ -n "$forward" ]; then # stop the loop first, so that it does not start another port-forward
        kill -STOP "$forward"
        pkill --parent "$forward"
        kill -KILL "$forward"
    fi
    if [ "$status" -ne 0 ]; then
        step "state of the cluster after the failure"
        kube get pods,jobs,events --output wide
        kube logs --prefix --tail 60 --selector "app.kubernetes.io/instance=$release" --all-containers
        cat "$work"/*.log
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT

settled() {
    kube rollout status "statefulset/$release-node" --timeout 10m
    kube rollout status "deployment/$release-gate" --timeout 10m
}

# A port-forward ends with the gate Pod that it leads to, so it is started again. Clients retry until then.
forward_for_good() {
    while :; do
        kube port-forward "service/$release-gate" "$port:443"
        sleep 0.3
    done >>"$work/forward.log" 2>&1
}

connect() {
    forward_for_good &
    forward=$!
    for _ in $(seq 100); do
        ! curl --silent --fail --cacert "$work/ca.crt" "https://localhost:$port/readyz" >"$work/ready.json" || return 0
        sleep 0.3
    done
    echo "no gate answers" >&2
    return 1
}

begin_load() {
    PYTHONPATH=openapi/python:. "$python" -m tests.kind.load "https://localhost:$port" "$work/ca.crt" >"$work/load.log" 2>&1 &
    load=$!
    for _ in $(seq 200); do
        ! grep -q 'under load' "$work/load.log" || return 0
        kill -0 "$load"
        sleep 0.3
    done
    echo "the load did not begin" >&2
    return 1
}

end_load() {
    kill -TERM "$load"
    wait "$load"
    load=
    tail -1 "$work/load.log"
}

step "images"
scripts/release/images.sh load gate goverse-gate:kind
scripts/release/images.sh load node goverse-node:kind
scripts/release/images.sh load cli goverse-tools:kind
NODE=goverse-node:kind scripts/release/images.sh load sample-app goverse-sample:kind
kind load docker-image --name "$cluster" goverse-gate:kind goverse-tools:kind goverse-sample:kind

step "install"
chart install "$release" helm/goverse --create-namespace --values tests/kind/values.yaml --timeout 15m
settled
chart test "$release" --timeout 5m
kube get secret "$release-gate-tls" --output 'jsonpath={.data.ca\.crt}' | base64 -d >"$work/ca.crt"
connect
cat "$work/ready.json"

step "a call through the gate"
"$python" -m goverse_cli call Counter kind-1 increment '{"by": 2}' --url "https://localhost:$port" --ca "$work/ca.crt"

step "a node Pod is deleted under load"
begin_load
kube delete pod "$release-node-1" --wait=true
settled
end_load

step "a node Pod is killed under load, without a chance to leave"
begin_load
kube delete pod "$release-node-0" --grace-period 0 --force
settled
end_load

step "an upgrade restarts all nodes and gates, one after the other, under load"
begin_load
chart upgrade "$release" helm/goverse --values tests/kind/values.yaml --set cluster.logLevel=debug \
    --timeout 15m
settled
end_load
chart test "$release" --timeout 5m

step "uninstall"
chart uninstall "$release" --wait --timeout 10m
left=$(kube get pods,services,statefulsets,deployments,jobs --selector "app.kubernetes.io/instance=$release" --output name)
[ -z "$left" ] || { echo "left behind: $left" >&2 && exit 1; }
kube get persistentvolumeclaims
echo "the end-to-end test passed"
