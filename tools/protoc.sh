#!/usr/bin/env bash
# Generates the Go files of the agent's protocol with the plugins that tools/go.mod pins.
#   tools/protoc.sh write   over the committed files
#   tools/protoc.sh check   fails if the committed files are not what would be written
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:-}
[[ $mode == write || $mode == check ]] || { echo "usage: $0 write|check" >&2; exit 1; }
command -v protoc >/dev/null || { echo "no protoc: apt-get install protobuf-compiler libprotobuf-dev" >&2; exit 1; }

dir=internal/agent/agentpb
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

(cd tools && go build -buildvcs=false -o "$tmp/bin/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc)
mkdir "$tmp/out"
protoc --proto_path="$dir" \
	--plugin=protoc-gen-go="$tmp/bin/protoc-gen-go" --plugin=protoc-gen-go-grpc="$tmp/bin/protoc-gen-go-grpc" \
	--go_out="$tmp/out" --go_opt=paths=source_relative \
	--go-grpc_out="$tmp/out" --go-grpc_opt=paths=source_relative \
	$(cd "$dir" && ls -- *.proto)

if [[ $mode == write ]]; then
	cp "$tmp"/out/*.pb.go "$dir/"
	exit
fi
for f in "$tmp"/out/*.pb.go; do
	# Any protoc will do for a check; the line with its own version is not compared.
	if ! diff -u <(grep -vE '^// (\t|- )protoc +v' "$dir/${f##*/}") <(grep -vE '^// (\t|- )protoc +v' "$f"); then
		echo "$dir/${f##*/} is not what the protocol gives: run make generate" >&2
		exit 1
	fi
done
echo "generated files: as the protocol gives them"
