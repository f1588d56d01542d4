// Command promql reads PromQL expressions, a line of JSON each, and prints the names of the metrics that they use. It ends
// with an error at the first that Prometheus would not accept.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	p := parser.NewParser(parser.Options{})
	for in.Scan() {
		var expr string
		if err := json.Unmarshal(in.Bytes(), &expr); err != nil {
			fail("no JSON string: %v", err)
		}
		e, err := p.ParseExpr(expr)
		if err != nil {
			fail("%s: %v", expr, err)
		}
		parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok {
				fmt.Println(v.Name)
			}
			return nil
		})
	}
	if err := in.Err(); err != nil {
		fail("%v", err)
	}
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "promql: "+format+"\n", args...)
	os.Exit(1)
}
