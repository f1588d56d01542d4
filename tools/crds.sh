#!/usr/bin/env bash
# Generates the API types' deep copies and their CRDs with the controller-gen that tools/go.mod pins.
#   tools/crds.sh write   over the committed files
#   tools/crds.sh check   fails if the committed files are not what would be written
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
[[ $mode == write || $mode == check ]] || { echo "usage: $0 write|check" >&2; exit 1; }

api=api/v1alpha1 crds=charts/ceo/crds
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

(cd tools && go build -buildvcs=false -o "$tmp/bin/" sigs.k8s.io/controller-tools/cmd/controller-gen)
# The types must compile without their deep copies, so that those can be made for new types.
"$tmp/bin/controller-gen" object paths="./$api" output:object:dir="$tmp/$api" crd paths="./$api" output:crd:dir="$tmp/$crds"

if [[ $mode == write ]]; then
	mkdir -p "$crds"
	rm -f "$crds"/clusteretcd.io_*.yaml
	cp "$tmp/$crds"/*.yaml "$crds/"
	cp "$tmp/$api"/*.go "$api/"
	exit
fi
# A file that no type stands for any more is a difference, too.
if ! diff -ru "$crds" "$tmp/$crds" || ! diff -u "$api/zz_generated.deepcopy.go" "$tmp/$api/zz_generated.deepcopy.go"; then
	echo "the deep copies or CRDs are not what the types in $api give: run make generate" >&2
	exit 1
fi
echo "generated files: CRDs and deep copies as $api gives them"
