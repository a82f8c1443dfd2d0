// What Flux does with resources in Git, by the engine of its kustomize-controller: `flux apply|drift|follow|wait FILE` on the
// cluster of KUBECONFIG, with FILE `-` for standard input. `flux status` needs no cluster: it judges a list of live resources.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/fluxcd/pkg/ssa/utils"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	log.SetFlags(0)
	ctrllog.SetLogger(logr.Discard())
	timeout := flag.Duration("timeout", time.Minute, "how long wait waits")
	flag.Parse()
	if err := do(context.Background(), flag.Arg(0), flag.Arg(1), *timeout); err != nil {
		log.Fatal(err)
	}
}

func do(ctx context.Context, command, path string, timeout time.Duration) error {
	if command == "status" {
		return judge(os.Stdin)
	}
	objects, err := read(path)
	if err != nil {
		return err
	}
	flux, err := newKustomization(objects)
	if err != nil {
		return err
	}
	switch command {
	case "apply":
		return flux.apply(ctx)
	case "drift":
		return flux.drift(ctx)
	case "follow":
		return flux.follow(ctx)
	case "wait":
		return flux.wait(ctx, timeout)
	}
	return fmt.Errorf("%q is no command: status, apply, drift, follow, wait", command)
}

func read(path string) ([]*unstructured.Unstructured, error) {
	if path == "-" {
		return utils.ReadObjects(os.Stdin)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return utils.ReadObjects(file)
}

// Print a value as one line of JSON.
func tell(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}
