#!/bin/bash
# kubernetes.sh: what can be said of kubernetes/ without an API server: each overlay is rendered below the one in kubernetes/README.md, with the
# example secrets, and judged by tests/kubernetes/check.mjs; that it finds faults is proved on manifests spoilt on purpose. Needs kubectl, node, npm, and on its first
# run the net: the npm packages, and Debian's client-go for the schema.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/${BUILD:-build}/kubernetes
mkdir -p "$work"

fail() {
    echo "FAILED  $*"
    exit 1
}
for tool in kubectl node npm apt-get dpkg-deb; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done

# --- tools and schema, once ---

cp tests/kubernetes/* "$work/"
if [ ! -e "$work/node_modules" ]; then
    (cd "$work" && npm install --ignore-scripts --no-audit --no-fund --silent) || fail "npm install"
fi
fetch_client_go() { # Debian 13's, whatever runs here: Debian 12's knows no native sidecars
    local apt=$work/apt mirror
    . tools/apt_mirror.sh
    mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$apt/sources.list"
    local options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    (cd "$apt" && apt-get "${options[@]}" download golang-k8s-client-go-dev)
    dpkg-deb -x "$apt"/golang-k8s-client-go-dev_*.deb "$work/client-go"
    rm -rf "$apt"
}
if [ ! -e "$work/schema.json" ]; then
    fetch_client_go || fail "Debian's golang-k8s-client-go-dev"
    node "$work/schema.mjs" "$work/client-go/usr/share/gocode/src/k8s.io/client-go/applyconfigurations/internal/internal.go" "$work/schema.json"
fi
check() {
    node "$work/check.mjs" "$work/schema.json" "$1"
}

# --- each overlay ---

render() { # OVERLAY: by README's own, all components taken
    local dir=$work/render/$1
    mkdir -p "$dir"
    sed -n '/^   apiVersion: kustomize/,/^$/s/^   \([a-z ]\)/\1/p' kubernetes/README.md |
        sed "s|^  # - |  - |; s|overlays/standalone|overlays/$1|; s|\.\./phoenix-cached/kubernetes|$(realpath --relative-to="$dir" kubernetes)|" >"$dir/kustomization.yaml"
    [ "$(grep -cE "(overlays/$1|components/example-secrets)\$" "$dir/kustomization.yaml")" = 2 ] || fail "README's overlay is not found"
    kubectl kustomize "$dir" >"$work/$1.yaml" 2>"$work/warnings" || fail "$1: $(cat "$work/warnings")"
    [ ! -s "$work/warnings" ] || fail "$1: $(cat "$work/warnings")"
    [ "$(grep -c 'image: registry.example/' "$work/$1.yaml")" = 2 ] || fail "$1: README's images are not taken"
}
# What the sidecar finds where its volumes are mounted.
mkdir -p "$work/pod/secrets" "$work/pod/spool"
echo example-token >"$work/pod/secrets/token"
echo example-password >"$work/pod/secrets/redis-password"
options_of() { # RENDERED: the sidecar's options as NAME=VALUE, its volumes below $work/pod
    sed -n 's/^  \(PHOENIX_[A-Z_]*\): "\{0,1\}\([^"]*\)"\{0,1\}$/\1=\2/p' "$1" |
        sed "s|=/etc/phoenix-cached/|=$work/pod/|; s|=/var/lib/phoenix-cached/|=$work/pod/spool/|"
}
judge_options() { # NAME=VALUE…: what the daemon says of them, nothing when all is well
    env -i "$@" "${BUILD:-build}/phoenix-cached" --check-config 2>&1 | grep -v '^configuration ok$' || true
}
for overlay in kubernetes/overlays/*/; do
    name=$(basename "$overlay")
    render "$name"
    check "$work/$name.yaml" || fail "$name"
    mapfile -t options < <(options_of "$work/$name.yaml")
    [ ${#options[@]} -ge 5 ] || fail "$name: no options"
    verdict=$(judge_options "${options[@]}")
    [ -z "$verdict" ] || fail "$name: $verdict"
    echo "ok      overlay $name: $(grep -c '^kind:' "$work/$name.yaml") objects"
done

# The example's user may do what config/redis/users.acl says, and what Sentinel and Cluster need besides.
user="$(grep '^user phoenix ' config/redis/users.acl) +cluster|slots +cluster|info +asking >example-password"
grep -qxF "$user" kubernetes/components/example-secrets/users.acl || fail "the example's users are not those of config/redis/users.acl"
echo "ok      the example's user is that of config/redis/users.acl"

# --- the checks' own test ---

[ -n "$(judge_options "${options[@]}" PHOENIX_REDIS_STATE_URI=redis://redis-state)" ] || fail "not found: an option that the daemon does not know"

spoilt() { # WHAT SED-EXPRESSION: the checks must find it
    sed "$2" "$work/standalone.yaml" >"$work/spoilt.yaml"
    ! cmp -s "$work/standalone.yaml" "$work/spoilt.yaml" || fail "the check's own test spoils nothing: $1"
    local status=0
    check "$work/spoilt.yaml" >"$work/found" 2>&1 || status=$?
    [ $status = 3 ] || fail "not found: $1 (exit code $status)"
}
spoilt "an unknown member" 's/enableServiceLinks:/enableServiceLink:/'
spoilt "an unknown member of the PodMonitor" 's/jobLabel:/jobLabels:/'
spoilt "an object without a namespace" '0,/^  namespace: phoenix$/{//d}'
spoilt "a wrong type" 's/failureThreshold: 3$/failureThreshold: "three"/'
spoilt "a missing required member" '/maxSkew:/d'
spoilt "a native sidecar that is none" '/restartPolicy: Always/d'
spoilt "a root file system that can be written" 's/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/'
spoilt "no URL of a Redis" '/PHOENIX_REDIS_URL/d'
spoilt "a port that nobody has" 's/port: admin/port: administration/'
spoilt "a Redis with too much memory" 's/REDIS_MAXMEMORY: 6gb/REDIS_MAXMEMORY: 8gb/'
spoilt "a Secret that is missing" 's/secretName: redis-auth/secretName: redis-authentication/'
echo "ok      faults put in on purpose are found"
